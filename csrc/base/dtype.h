// Element types: one enum, one table of facts, one promotion rule.
#pragma once
#include <cstdint>
#include <cstddef>

namespace pd {

// name, NumPy/array-interface kind, bytes, category, compute type
//   category: 0 bool, 1 integer, 2 floating, 3 complex (the order of promotion)
//   compute:  the type that loops are instantiated for; others convert at load and store
#define PD_DTYPES(X)                          \
  X(Bool, bool, 'b', 1, 0, Bool)              \
  X(U8, uint8, 'u', 1, 1, I32)                \
  X(I8, int8, 'i', 1, 1, I32)                 \
  X(I16, int16, 'i', 2, 1, I32)               \
  X(I32, int32, 'i', 4, 1, I32)               \
  X(I64, int64, 'i', 8, 1, I64)               \
  X(U16, uint16, 'u', 2, 1, I32)              \
  X(U32, uint32, 'u', 4, 1, I64)              \
  X(U64, uint64, 'u', 8, 1, U64)              \
  X(F16, float16, 'f', 2, 2, F32)             \
  X(BF16, bfloat16, 'V', 2, 2, F32)           \
  X(F32, float32, 'f', 4, 2, F32)             \
  X(F64, float64, 'f', 8, 2, F64)             \
  X(C64, complex64, 'c', 8, 3, C64)           \
  X(C128, complex128, 'c', 16, 3, C128)

enum class DType : uint8_t {
#define X(id, name, kind, size, cat, compute) id,
  PD_DTYPES(X)
#undef X
};

#define X(...) +1
constexpr int kNumDTypes = 0 PD_DTYPES(X);
#undef X

struct DTypeInfo {
  const char* name;
  char kind;
  uint8_t size;
  uint8_t category;
  DType compute;
};

constexpr DTypeInfo kDTypes[] = {
#define X(id, name, kind, size, cat, compute) {#name, kind, size, cat, DType::compute},
    PD_DTYPES(X)
#undef X
};

constexpr const DTypeInfo& info(DType t) { return kDTypes[static_cast<int>(t)]; }
constexpr size_t size_of(DType t) { return info(t).size; }
constexpr const char* name_of(DType t) { return info(t).name; }
constexpr bool is_bool(DType t) { return t == DType::Bool; }
constexpr bool is_integer(DType t) { return info(t).category == 1; }
constexpr bool is_floating(DType t) { return info(t).category == 2; }
constexpr bool is_unsigned(DType t) { return is_integer(t) && info(t).kind == 'u'; }
constexpr bool is_complex(DType t) { return info(t).category == 3; }
// Only floating and complex values carry a gradient.
constexpr bool is_differentiable(DType t) { return info(t).category >= 2; }
// Kernels compute with the type, or with its compute type between loads and stores.
constexpr bool has_kernels(DType t) { return !is_complex(t); }
// A type that only memory has: every operation converts its operands to the compute type, and its result back.
constexpr bool is_half(DType t) { return t == DType::F16 || t == DType::BF16; }
constexpr bool is_narrow(DType t) { return has_kernels(t) && info(t).compute != t; }
constexpr DType compute_type(DType t) { return is_narrow(t) ? info(t).compute : t; }
// What an element of the type is held in between its load and the conversion to its compute type: its bits (a 16-bit
// float) or its value (an integer).
constexpr DType carrier_type(DType t) { return !is_narrow(t) ? t : t == DType::U32 ? DType::I64 : DType::I32; }
// What a number of type `from`, not narrow, becomes before it is rounded or wrapped to the narrow type `to`: rounding
// happens once.
constexpr DType narrow_from(DType from, DType to) {
  if (!is_floating(to)) return info(to).compute;
  return from == DType::F32 || from == DType::Bool ? DType::F32 : DType::F64;
}

// Promotion of two types of equal priority, as torch.promote_types; where that has no answer (16 to 64 unsigned bits
// with another integer) NumPy's. docs/DTYPES.md has the table.
DType promote(DType a, DType b);
// The dtype whose name is `name` ("float32"), or false.
bool dtype_from_name(const char* name, DType& out);

DType default_dtype();
void set_default_dtype(DType t);

// C++ type of a compute dtype.
template <class T> struct dtype_of;
template <> struct dtype_of<bool> { static constexpr DType value = DType::Bool; };
template <> struct dtype_of<uint8_t> { static constexpr DType value = DType::Bool; };
template <> struct dtype_of<int32_t> { static constexpr DType value = DType::I32; };
template <> struct dtype_of<int64_t> { static constexpr DType value = DType::I64; };
template <> struct dtype_of<uint64_t> { static constexpr DType value = DType::U64; };
template <> struct dtype_of<float> { static constexpr DType value = DType::F32; };
template <> struct dtype_of<double> { static constexpr DType value = DType::F64; };

}  // namespace pd
