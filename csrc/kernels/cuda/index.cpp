// Reading and writing at places that tensors name: index, index_put, gather, scatter.
//
// Entries are checked where they are used; one out of range is told and reads and writes nothing. Every kernel looks at
// the indices themselves, which lie in cache by then, so nothing but marks and sorted entries takes memory.
//
// Writes that meet, without accumulation: the last stays (marks). With it: integers and bool by atomics, for their
// order does not matter; others sorted by target and added in order, as on the CPU. scatter writes whole lines in order
// with neither, where lines enough lie beside each other.
#include "kernels/cuda/index_text.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sort.h"

namespace pd {
namespace cuda {

namespace {

constexpr int64_t kManyLines = 16384, kShortLine = 16;

enum class Element { Moved, Added, SmallAdded };

template <const char* const& Find, bool Add, const char* const& Plus>
std::string index_text(const Head& head) {
  return head.text() + kFaultText + Find + (Add ? Plus : "") + kIndexText + (Add ? kAccumulateText : "");
}
const char* const kNothing = "";

template <const char* const& Find>
Compose index_compose(Element e) {
  switch (e) {
    case Element::Moved: return index_text<Find, false, kNothing>;
    case Element::Added: return index_text<Find, true, kAddText>;
    default: return index_text<Find, true, kSmallAddText>;
  }
}

template <const char* const& Plus, const char* const& Put>
std::string lines_text(const Head& head) {
  return head.text() + kFaultText + Plus + Put + kLinesText;
}
Compose lines_compose(Element e) {
  return e == Element::Moved ? lines_text<kNothing, kStay> : lines_text<kPlusText, kPlus>;
}

// How elements of a dtype are handled: moved in words, or added. A complex number is two that are added.
struct Kind {
  Element element = Element::Moved;
  const char* type = "";
  int64_t bytes = 0;  // of a T
  bool bits = false;
  bool any_order = false;  // additions may come in any order

  static Kind moved(int64_t unit) { return Kind{Element::Moved, word_type(unit), unit, false, true}; }
  // False where the dtype has no addition.
  bool added(DType t) {
    bytes = static_cast<int64_t>(size_of(t)) / (is_complex(t) ? 2 : 1);
    bits = is_bool(t);
    bool whole = is_integer(t) || bits;
    type = whole ? word_type(bytes) : bytes == 4 ? "f32" : "f64";
    element = bytes < 4 ? Element::SmallAdded : Element::Added;
    any_order = whole || !cuda_deterministic();
    return whole || bytes >= 4;
  }
};

Head index_head(const Kind& k, bool wide, int rank) {
  Head h;
  h.type("T", k.type).type("Ix", wide ? "u64" : "u32").number("RANK", rank);
  if (k.element == Element::SmallAdded) h.flag("BITS", k.bits);
  return h;
}

// The entries of an op's index tensors, as `find` of a text knows them; `inner` in elements of the dtype.
struct Entries {
  const NativeArgs& a;
  bool along;
  int64_t count = 0, targets = 1, inner = 1;
  int rank = 1;
  Nest<2> nest;                            // along: strides of x beside the axis, and of the values
  int64_t axis_size = 1, axis_stride = 1;  // along
  Ints sizes, strides;                     // rows
  int first_index;

  // The first n axes of x are one axis of rows; index tensors choose among them.
  static Entries rows(const NativeArgs& a, int first_index) {
    Entries e(a, false, first_index);
    const Shape& x = a.specs[0].shape;
    e.rank = static_cast<int>((*a.attrs)[0]);
    e.sizes.assign(x.data(), e.rank);
    e.strides.resize(e.rank);
    for (int i = x.size() - 1; i >= e.rank; --i) e.inner *= x[i];
    for (int i = e.rank - 1; i >= 0; --i) {
      e.strides[i] = e.targets;
      e.targets *= x[i];
    }
    return e;
  }
  // Along one axis of x; `values` is the operand whose elements they take, or null.
  static Entries along_axis(const NativeArgs& a, const Spec* values) {
    Entries e(a, true, 1);
    const Shape &xs = a.specs[0].shape, &is = a.specs[1].shape;
    int axis = static_cast<int>((*a.attrs)[0]);
    Ints x_stride = contiguous_strides(xs), v_stride = values ? contiguous_strides(values->shape) : Ints(is.size(), 0);
    for (int d = 0; d < is.size(); ++d) e.nest.axis(is[d], {d == axis ? 0 : x_stride[d], v_stride[d]});
    e.nest.done();
    e.rank = e.nest.rank();
    e.targets = numel(xs);
    if (!xs.empty()) {
      e.axis_size = xs[axis];
      e.axis_stride = x_stride[axis];
    }
    return e;
  }

  Compose compose(Element e) const {
    return along ? index_compose<kAlongPlaces>(e) : index_compose<kRowPlaces>(e);
  }
  Fields places(bool wide) const {
    Fields f(wide);
    if (along) {
      f.pointer(a.in[1]);
      f.word(axis_size);
      f.word(axis_stride);
      nest.write(f);
      return f;
    }
    for (int t = 0; t < rank; ++t) f.pointer(a.in[first_index + t]);
    for (int64_t n : sizes) f.word(n);
    for (int64_t s : strides) f.word(s);
    return f;
  }
  // Do all element numbers fit 32 bits, of x, of the result, of the values?
  bool wide(int64_t values) const { return !fits_32(std::max({count * inner, targets * inner, values, count})); }

 private:
  Entries(const NativeArgs& a, bool along, int first_index)
      : a(a), along(along), count(numel(a.specs[first_index].shape)), first_index(first_index) {}
};

// What is moved at a time: as much of a run of `inner` elements as all addresses allow.
Kind moved_kind(const NativeArgs& a, int64_t inner, const void* values) {
  uint64_t run = static_cast<uint64_t>(inner) * size_of(a.out_spec->dtype);
  return Kind::moved(unit_of(run | address(a.in[0]) | address(a.out) | address(values)));
}

// Only looks at the indices, where there is nothing to move.
void check(const Entries& e, const CudaNativeContext& c) {
  bool wide = e.wide(0);
  Kind kind = Kind::moved(1);
  launch(c, e.compose(kind.element), index_head(kind, wide, e.rank), "check_places", blocks_for(c, e.count),
         {e.places(wide).data(), &e.count, &c.error});
}

void take(const Entries& e, const CudaNativeContext& c) {
  if (e.count == 0) return;
  if (e.inner == 0) return check(e, c);
  Kind kind = moved_kind(e.a, e.inner, nullptr);
  bool wide = e.wide(0);
  int64_t inner = e.inner * static_cast<int64_t>(size_of(e.a.out_spec->dtype)) / kind.bytes;
  launch(c, e.compose(kind.element), index_head(kind, wide, e.rank), "take", blocks_for(c, e.count * inner),
         {e.a.in, &e.a.out, e.places(wide).data(), &e.count, &inner, &c.error});
}

void write_last(const Entries& e, const CudaNativeContext& c, const void* values, int64_t value_count) {
  Kind kind = moved_kind(e.a, e.inner, values);
  bool wide = e.wide(value_count);
  int64_t inner = e.inner * static_cast<int64_t>(size_of(e.a.out_spec->dtype)) / kind.bytes;
  Fields places = e.places(wide);
  Compose compose = e.compose(kind.element);
  Head head = index_head(kind, wide, e.rank);
  auto write = [&](void* mark) {
    launch(c, compose, head, "write", blocks_for(c, e.count * inner),
           {&e.a.out, &values, &mark, places.data(), &e.count, &inner, &c.error});
  };
  if (e.count == 1) return write(nullptr);
  Scratch mark(c, e.targets * (wide ? 8 : 4));
  for (const char* step : {"clear_marks", "claim"})
    launch(c, compose, head, step, blocks_for(c, e.count), {&mark.get(), places.data(), &e.count, &c.error});
  write(mark.get());
}

void add(const Entries& e, const CudaNativeContext& c, const Kind& kind, const void* values, int64_t value_count) {
  int64_t inner = e.inner * static_cast<int64_t>(size_of(e.a.out_spec->dtype)) / kind.bytes;
  bool wide = !fits_32(std::max({e.count * inner, e.targets * inner, value_count * 2}));
  Fields places = e.places(wide);
  Compose compose = e.compose(kind.element);
  Head head = index_head(kind, wide, e.rank);
  if (kind.any_order || e.count == 1)
    return launch(c, compose, head, "add_atomic", blocks_for(c, e.count * inner),
                  {&e.a.out, &values, places.data(), &e.count, &inner, &c.error});
  int64_t item = wide ? 8 : 4;
  Scratch memory(c, 4 * e.count * item);
  char* at = static_cast<char*>(memory.get());
  void *key = at, *source = at + e.count * item, *spare_key = at + 2 * e.count * item, *spare = at + 3 * e.count * item;
  launch(c, compose, head, "list_entries", blocks_for(c, e.count),
         {&key, &source, places.data(), &e.count, &e.targets, &c.error});
  sort_pairs(c, wide, e.count, e.targets + 1, key, source, spare_key, spare);
  launch(c, compose, head, "add_sorted", blocks_for(c, e.count * inner),
         {&e.a.out, &values, &key, &source, &e.count, &inner, &e.targets});
}

// scatter by lines along the axis, where that is better: then true.
bool write_lines(const NativeArgs& a, const CudaNativeContext& c, const Kind& kind) {
  const Shape &xs = a.specs[0].shape, &is = a.specs[1].shape;
  int axis = static_cast<int>((*a.attrs)[0]);
  int64_t length = is.empty() ? 1 : is[axis], lines = numel(is) / length;
  if (length > kShortLine && lines < kManyLines) return false;
  Ints xstr = contiguous_strides(xs), istr = contiguous_strides(is), vstr = contiguous_strides(a.specs[2].shape);
  Nest<3> nest;
  for (int d = 0; d < is.size(); ++d)
    if (d != axis) nest.axis(is[d], {istr[d], vstr[d], xstr[d]});
  nest.done();
  int64_t inner = static_cast<int64_t>(size_of(a.out_spec->dtype)) / kind.bytes;
  bool wide = !fits_32(inner * std::max(numel(xs), numel(a.specs[2].shape)));
  Fields f(wide);
  f.pointer(a.in[1]);
  f.word(xs.empty() ? 1 : xs[axis]);
  f.word(xs.empty() ? 1 : xstr[axis]);
  f.word(length);
  f.word(is.empty() ? 1 : istr[axis]);
  f.word(is.empty() ? 1 : vstr[axis]);
  nest.write(f);
  launch(c, lines_compose(kind.element), index_head(kind, wide, nest.rank()), "write_lines",
         blocks_for(c, lines * inner), {&a.out, a.in + 2, f.data(), &lines, &inner, &c.error});
  return true;
}

}  // namespace

void index(const NativeArgs& a, const CudaNativeContext& c) { take(Entries::rows(a, 1), c); }
void gather(const NativeArgs& a, const CudaNativeContext& c) { take(Entries::along_axis(a, nullptr), c); }

void index_put(const NativeArgs& a, const CudaNativeContext& c) {
  Entries e = Entries::rows(a, 2);
  copy_operand(a, c);
  Kind kind;
  bool accumulate = (*a.attrs)[1] != 0, known = !accumulate || kind.added(a.out_spec->dtype);
  if (!known) tell(c, ErrorCode::NotAddable);  // an index out of range comes first
  if (e.count == 0) return;
  if (e.inner == 0 || !known) return check(e, c);
  if (accumulate) return add(e, c, kind, a.in[1], numel(a.specs[1].shape));
  write_last(e, c, a.in[1], numel(a.specs[1].shape));
}

void scatter(const NativeArgs& a, const CudaNativeContext& c) {
  Entries e = Entries::along_axis(a, a.specs + 2);
  copy_operand(a, c);
  Kind kind;
  bool accumulate = (*a.attrs)[1] != 0;
  if (accumulate && !kind.added(a.out_spec->dtype)) return tell(c, ErrorCode::NotAddable);
  if (e.count == 0) return;
  int64_t value_count = numel(a.specs[2].shape);
  if (!accumulate) {
    kind = moved_kind(a, 1, a.in[2]);
    if (!write_lines(a, c, kind)) write_last(e, c, a.in[2], value_count);
  } else if (kind.any_order || !write_lines(a, c, kind)) {
    add(e, c, kind, a.in[2], value_count);
  }
}

void add_index_texts(Texts& out) {
  auto add = [&](const std::string& name, Compose compose, const Head& head) {
    out.push_back({name, compose(head)});
  };
  for (bool wide : {false, true}) {
    std::string end = wide ? " wide" : "";
    for (int64_t unit : {1, 2, 4, 8, 16})
      for (int rank : {1, 3}) {
        Head head = index_head(Kind::moved(unit), wide, rank);
        std::string what = std::to_string(unit) + " " + std::to_string(rank) + end;
        add("rows " + what, index_compose<kRowPlaces>(Element::Moved), head);
        add("along " + what, index_compose<kAlongPlaces>(Element::Moved), head);
        add("lines " + what, lines_compose(Element::Moved), head);
      }
    for (DType t : {DType::Bool, DType::U8, DType::I16, DType::I32, DType::I64, DType::F32, DType::F64}) {
      Kind kind;
      kind.added(t);
      Head head = index_head(kind, wide, 2);
      std::string what = name_of(t) + end;
      add("rows add " + what, index_compose<kRowPlaces>(kind.element), head);
      add("along add " + what, index_compose<kAlongPlaces>(kind.element), head);
      if (is_floating(t)) add("lines add " + what, lines_compose(kind.element), head);
    }
    Head head;
    head.type("Ix", wide ? "u64" : "u32");
    add("sort" + end, sort_text, head);
  }
}

}  // namespace cuda
}  // namespace pd
