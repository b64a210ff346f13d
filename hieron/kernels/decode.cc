#include "hieron/kernels/decode.h"

#include <array>
#include <cassert>

#include "hieron/kernels/decode_on.h"
#include "hieron/kernels/lanes.h"

namespace hieron {
namespace {

// ---- storage -> arithmetic ----

template <class Out>
struct FromBf16 {
  HIERON_INLINE void operator()(const std::byte* in, Out* __restrict out, size_t n) const {
    for (size_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load<uint16_t>(in, i));
  }
};

template <class Out>
struct FromF16 {
  HIERON_INLINE void operator()(const std::byte* in, Out* __restrict out, size_t n) const {
    for (size_t i = 0; i < n; ++i) out[i] = f16_to_f32(load<uint16_t>(in, i));
  }
};

template <class Stored, class Out>
struct Cast {
  HIERON_INLINE void operator()(const std::byte* in, Out* __restrict out, size_t n) const {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<Out>(load<Stored>(in, i));
  }
};

// Every value of an 8-bit format is a float.
using ByteTable = std::array<float, 256>;

const ByteTable& byte_table(DType dtype) {
  static const auto tables = [] {
    std::array<ByteTable, 32> all{};
    assert(dtypes().size() <= all.size());
    for (const DTypeInfo& row : dtypes()) {
      if (row.bits != 8) continue;
      for (size_t bits = 0; bits < 256; ++bits) {
        all[static_cast<size_t>(row.dtype)][bits] = static_cast<float>(decode(row.dtype, bits));
      }
    }
    return all;
  }();
  return tables[static_cast<size_t>(dtype)];
}

template <class Out>
void decode_bytes(DType dtype, const std::byte* in, std::span<Out> out) {
  const ByteTable& table = byte_table(dtype);
  for (size_t i = 0; i < out.size(); ++i) out[i] = table[std::to_integer<size_t>(in[i])];
}

template <class Out>
void decode_one_by_one(DType dtype, const std::byte* in, std::span<Out> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<Out>(decode(dtype, load_bits(dtype, in, i)));
  }
}

template <class Out>
void decode_span(Isa isa, DType dtype, const std::byte* in, std::span<Out> out) {
  if (dtype == DType::kBF16) return run(isa, FromBf16<Out>{}, in, out.data(), out.size());
  if (dtype == DType::kF16) return run(isa, FromF16<Out>{}, in, out.data(), out.size());
  if (dtype == DType::kF32) return run(isa, Cast<float, Out>{}, in, out.data(), out.size());
  if (dtype == DType::kF64) return run(isa, Cast<double, Out>{}, in, out.data(), out.size());
  if (info(dtype).bits == 8) return decode_bytes(dtype, in, out);
  decode_one_by_one(dtype, in, out);
}

// ---- arithmetic -> storage ----

struct ToBf16 {
  HIERON_INLINE void operator()(const float* __restrict in, std::byte* out, size_t n) const {
    for (size_t i = 0; i < n; ++i) store(out, i, f32_to_bf16(in[i]));
  }
};

template <class Stored>
struct ToNarrow {
  Narrowing narrow;
  HIERON_INLINE void operator()(const float* __restrict in, std::byte* out, size_t n) const {
    for (size_t i = 0; i < n; ++i) store(out, i, static_cast<Stored>(narrow(in[i])));
  }
};

// The same format, or a wider one: only NaN changes, to the quiet one of its sign.
template <class In, class Stored>
struct ToWide {
  HIERON_INLINE void operator()(const In* __restrict in, std::byte* out, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const Stored quiet = std::copysign(std::bit_cast<Stored>(kQuiet), static_cast<Stored>(in[i]));
      const bool is_nan =
          in[i] != in[i];  // NOLINT(misc-redundant-expression): no call in a vector loop
      store(out, i, is_nan ? quiet : static_cast<Stored>(in[i]));
    }
  }
  using Bits = std::conditional_t<sizeof(Stored) == 4, uint32_t, uint64_t>;
  static constexpr Bits kQuiet =
      static_cast<Bits>(sizeof(Stored) == 4 ? 0x7FC00000 : 0x7FF8000000000000);
};

template <class In>
void encode_one_by_one(DType dtype, std::span<const In> in, std::byte* out) {
  for (size_t i = 0; i < in.size(); ++i) store_bits(dtype, out, i, encode(dtype, double{in[i]}));
}

bool has_lanes(DType dtype) { return info(dtype).bits >= 8 && dtype != DType::kF8E8M0; }

}  // namespace

void decode_on(Isa isa, DType dtype, const std::byte* in, std::span<float> out) {
  decode_span(isa, dtype, in, out);
}

void decode_on(Isa isa, DType dtype, const std::byte* in, std::span<double> out) {
  decode_span(isa, dtype, in, out);
}

void encode_on(Isa isa, DType dtype, std::span<const float> in, std::byte* out) {
  assert(info(dtype).format);
  const float* data = in.data();
  const size_t n = in.size();
  if (!has_lanes(dtype)) return encode_one_by_one(dtype, in, out);
  if (dtype == DType::kBF16) return run(isa, ToBf16{}, data, out, n);
  if (dtype == DType::kF32) return run(isa, ToWide<float, float>{}, data, out, n);
  if (dtype == DType::kF64) return run(isa, ToWide<float, double>{}, data, out, n);
  const Narrowing narrow(float_layout(dtype));
  if (dtype == DType::kF16) return run(isa, ToNarrow<uint16_t>{narrow}, data, out, n);
  run(isa, ToNarrow<uint8_t>{narrow}, data, out, n);
}

namespace {

// Rounded to the values of a format, f64 fits f32 exactly (or overflows with it).
struct QuantiseToF32 {
  Quantiser quantise;
  HIERON_INLINE void operator()(const double* __restrict in, float* __restrict out,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(quantise(in[i]));
  }
};

}  // namespace

void encode_on(Isa isa, DType dtype, std::span<const double> in, std::byte* out) {
  assert(info(dtype).format);
  if (!has_lanes(dtype)) return encode_one_by_one(dtype, in, out);
  if (dtype == DType::kF64) return run(isa, ToWide<double, double>{}, in.data(), out, in.size());
  if (dtype == DType::kF32) return run(isa, ToWide<double, float>{}, in.data(), out, in.size());
  constexpr size_t kChunk = 512;
  std::array<float, kChunk> rounded;
  const QuantiseToF32 quantise{Quantiser(float_layout(dtype))};
  const size_t width = static_cast<size_t>(info(dtype).bits) / 8;
  for (size_t at = 0; at < in.size(); at += kChunk) {
    const auto part = in.subspan(at, std::min(kChunk, in.size() - at));
    run(isa, quantise, part.data(), rounded.data(), part.size());
    encode_on(isa, dtype, std::span<const float>(rounded).first(part.size()), out + at * width);
  }
}

void decode(DType dtype, const std::byte* in, std::span<double> out) {
  decode_on(best_isa(), dtype, in, out);
}

void decode(DType dtype, const std::byte* in, std::span<float> out) {
  decode_on(best_isa(), dtype, in, out);
}

void encode(DType dtype, std::span<const double> in, std::byte* out) {
  encode_on(best_isa(), dtype, in, out);
}

void encode(DType dtype, std::span<const float> in, std::byte* out) {
  encode_on(best_isa(), dtype, in, out);
}

uint64_t load_bits(DType dtype, const std::byte* data, size_t index) {
  const size_t bits = static_cast<size_t>(info(dtype).bits);
  uint64_t value = 0;
  if (bits % 8 == 0) {
    std::memcpy(&value, data + index * (bits / 8), bits / 8);  // little-endian, as the files are
    return value;
  }
  // F4 and F6 are packed from the low bit up; an element spans at most two bytes.
  for (size_t bit = 0; bit < bits; ++bit) {
    const size_t at = index * bits + bit;
    value |= (std::to_integer<uint64_t>(data[at / 8]) >> at % 8 & 1) << bit;
  }
  return value;
}

void store_bits(DType dtype, std::byte* data, size_t index, uint64_t value) {
  const size_t bits = static_cast<size_t>(info(dtype).bits);
  if (bits % 8 == 0) {
    std::memcpy(data + index * (bits / 8), &value, bits / 8);
    return;
  }
  for (size_t bit = 0; bit < bits; ++bit) {
    const size_t at = index * bits + bit;
    const std::byte mask{static_cast<unsigned char>(1u << at % 8)};
    data[at / 8] = value >> bit & 1 ? data[at / 8] | mask : data[at / 8] & ~mask;
  }
}

}  // namespace hieron
