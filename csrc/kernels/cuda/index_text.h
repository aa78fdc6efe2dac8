// CUDA C++ of index, index_put, gather, scatter.
//
// Entry e of the index tensors names a target, a run of `inner` elements of x, and has a source, a run of the values;
// `find` says which. It follows the head and kFaultText, as kRowPlaces (index, index_put: index tensors over the first
// axes) or kAlongPlaces (gather, scatter: one index tensor along an axis); then kIndexText. A head gives T (the element
// or what is moved at a time), Ix (unsigned), RANK (of the places), and for elements of one or two bytes BITS (bool:
// they add up by `or`).
#pragma once

namespace pd {
namespace cuda {

inline const char* const kRowPlaces = R"cuda(
struct Places { const i64* index[RANK]; i64 size[RANK], stride[RANK]; };

// False where an index is out of range, which is told.
PD_DEVICE bool find(const Places& p, Ix e, Ix& target, Ix& source, i64* error) {
  Ix at = 0;
  bool good = true;
#pragma unroll
  for (int t = 0; t < RANK; ++t) {
    i64 k = p.index[t][e], size = p.size[t], i = k + (k < 0 ? size : 0);
    if ((u64)i >= (u64)size) {
      tell_fault(error, (i64)e * RANK + t, k, size);
      good = false;
    }
    at += (Ix)i * (Ix)p.stride[t];
  }
  target = at;
  source = e;
  return good;
}
)cuda";

inline const char* const kAlongPlaces = R"cuda(
struct Places { const i64* index; i64 size, stride; Ix n[RANK], beside[RANK], from[RANK]; };

PD_DEVICE bool find(const Places& p, Ix e, Ix& target, Ix& source, i64* error) {
  i64 k = p.index[e], i = k + (k < 0 ? p.size : 0);
  bool good = (u64)i < (u64)p.size;
  if (!good) tell_fault(error, (i64)e, k, p.size);
  Ix rest = e, at = 0, from = 0;
#pragma unroll
  for (int d = RANK - 1; d > 0; --d) {
    Ix q = rest / p.n[d], j = rest - q * p.n[d];
    at += j * p.beside[d];
    from += j * p.from[d];
    rest = q;
  }
  target = at + rest * p.beside[0] + (Ix)i * (Ix)p.stride;
  source = from + rest * p.from[0];
  return good;
}
)cuda";

// How elements meet in write_lines: the last one stays, or they add up.
inline const char* const kStay = R"cuda(
PD_DEVICE T put(T, T v) { return v; }
)cuda";
inline const char* const kPlus = R"cuda(
PD_DEVICE T put(T old, T v) { return plus(old, v); }
)cuda";

// What adds up: `plus`; and the atomic `add_at`, for any order of additions.
inline const char* const kPlusText = R"cuda(
PD_DEVICE T plus(T a, T b) { return a + b; }
)cuda";
inline const char* const kAddText = R"cuda(
PD_DEVICE T plus(T a, T b) { return a + b; }
PD_DEVICE void add_at(T* o, T v) { atomicAdd(o, v); }
)cuda";

// One or two bytes: the aligned word around them is exchanged.
inline const char* const kSmallAddText = R"cuda(
PD_DEVICE T plus(T a, T b) { return (T)(BITS ? a | b : a + b); }
PD_DEVICE void add_at(T* o, T v) {
  u32* word = (u32*)((u64)o & ~3ull);
  int shift = (int)((u64)o & 3) * 8;
  u32 mask = (u32)(T)~(T)0 << shift, seen = *(volatile u32*)word, old;
  do {
    old = seen;
    u32 sum = (u32)plus((T)(old >> shift), v) << shift;
    seen = atomicCAS(word, old, (old & ~mask) | (sum & mask));
  } while (seen != old);
}
)cuda";

inline const char* const kIndexText = R"cuda(
#define PD_EACH(i, count) Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x

// Only looks at the indices.
PD_KERNEL check_places(Places p, Ix count, i64* error) {
  Ix target, source;
  for (PD_EACH(e, count)) find(p, e, target, source, error);
}

PD_KERNEL take(const T* __restrict__ x, T* __restrict__ out, Places p, Ix count, Ix inner, i64* error) {
  for (PD_EACH(i, count * inner)) {
    Ix e = i / inner, target, source;
    if (find(p, e, target, source, error)) out[i] = x[target * inner + (i - e * inner)];
  }
}

// The last of the writes that meet in a target stays. mark[target] is 1 + the greatest entry that names it: cleared
// where it will be used, claimed, then obeyed.
PD_KERNEL clear_marks(Ix* mark, Places p, Ix count, i64* error) {
  Ix target, source;
  for (PD_EACH(e, count))
    if (find(p, e, target, source, error)) mark[target] = 0;
}
PD_KERNEL claim(Ix* mark, Places p, Ix count, i64* error) {
  Ix target, source;
  for (PD_EACH(e, count))
    if (find(p, e, target, source, error)) atomicMax(mark + target, e + 1);
}
// mark is null where no two entries meet.
PD_KERNEL write(T* __restrict__ out, const T* __restrict__ values, const Ix* __restrict__ mark, Places p, Ix count,
                Ix inner, i64* error) {
  for (PD_EACH(i, count * inner)) {
    Ix e = i / inner, j = i - e * inner, target, source;
    if (find(p, e, target, source, error) && (!mark || mark[target] == e + 1))
      out[target * inner + j] = values[source * inner + j];
  }
}

// What is to be sorted: targets, `targets` itself for entries that have none, and sources.
PD_KERNEL list_entries(Ix* key, Ix* value, Places p, Ix count, Ix targets, i64* error) {
  for (PD_EACH(e, count)) {
    Ix target, source;
    bool good = find(p, e, target, source, error);
    key[e] = good ? target : targets;
    value[e] = source;
  }
}
)cuda";

// Follows kIndexText where elements add up.
inline const char* const kAccumulateText = R"cuda(
PD_KERNEL add_atomic(T* out, const T* __restrict__ values, Places p, Ix count, Ix inner, i64* error) {
  for (PD_EACH(i, count * inner)) {
    Ix e = i / inner, j = i - e * inner, target, source;
    if (find(p, e, target, source, error)) add_at(out + target * inner + j, values[source * inner + j]);
  }
}

// Entries sorted by target, equal ones in the order of the indices: the thread at the first of a target's entries adds
// them all up in that order, which is the CPU's.
PD_KERNEL add_sorted(T* __restrict__ out, const T* __restrict__ values, const Ix* __restrict__ key,
                     const Ix* __restrict__ source, Ix count, Ix inner, Ix targets) {
  constexpr int kAhead = 8;  // loads that do not wait for each other
  for (PD_EACH(i, count * inner)) {
    Ix e = i / inner, j = i - e * inner, target = key[e];
    if (target >= targets || (e && key[e - 1] == target)) continue;
    T sum = out[target * inner + j];
    bool more = true;
    for (Ix m = e; more; m += kAhead) {
      T v[kAhead];
      bool has[kAhead];
#pragma unroll
      for (int q = 0; q < kAhead; ++q) {
        has[q] = m + q < count && key[m + q] == target;
        if (has[q]) v[q] = values[source[m + q] * inner + j];
      }
#pragma unroll
      for (int q = 0; q < kAhead; ++q)
        if (has[q]) sum = plus(sum, v[q]);
      more = has[kAhead - 1];
    }
    out[target * inner + j] = sum;
  }
}
)cuda";

// scatter where many lines lie beside each other or lines are short: a thread takes its line of indices in their order,
// so that nothing of one line meets another. `put` is one of kStay and kPlus.
inline const char* const kLinesText = R"cuda(
struct Lines {
  const i64* index;
  i64 size, stride, length, index_step, from_step;
  Ix n[RANK], at[RANK], from[RANK], to[RANK];
};

PD_KERNEL write_lines(T* __restrict__ out, const T* __restrict__ values, Lines l, Ix lines, Ix inner, i64* error) {
  for (Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < lines * inner; i += gridDim.x * blockDim.x) {
    Ix rest = i / inner, part = i - rest * inner, at = 0, from = 0, to = 0;
#pragma unroll
    for (int d = RANK - 1; d >= 0; --d) {
      Ix q = d ? rest / l.n[d] : 0, k = rest - q * l.n[d];
      at += k * l.at[d];
      from += k * l.from[d];
      to += k * l.to[d];
      rest = q;
    }
    for (i64 j = 0; j < l.length; ++j, at += (Ix)l.index_step, from += (Ix)l.from_step) {
      i64 k = l.index[at], p = k + (k < 0 ? l.size : 0);
      if ((u64)p >= (u64)l.size) {
        tell_fault(error, (i64)at, k, l.size);
        continue;
      }
      T* o = out + (to + (Ix)p * (Ix)l.stride) * inner + part;
      T v = values[from * inner + part];
      *o = put(*o, v);
    }
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
