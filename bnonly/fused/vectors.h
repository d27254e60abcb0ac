// Eight values at a time, in the compiler's own vector types: AVX, AVX-512, NEON or plain registers, as there are.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __AVX__
#include <immintrin.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_thread_num() { return 0; }
static inline int omp_get_num_threads() { return 1; }
#endif

using Size = std::int64_t;

struct BFloat16 {
    std::uint16_t bits;
};

// What stored values are computed in.
template <typename Stored> struct Computed {
    using Type = Stored;
};
template <> struct Computed<BFloat16> {
    using Type = float;
};

template <typename Type> struct Eight {
    using Word = std::conditional_t<sizeof(Type) == 4, std::int32_t, std::int64_t>;
    typedef Type Values __attribute__((vector_size(8 * sizeof(Type))));
    typedef Word Bits __attribute__((vector_size(8 * sizeof(Type))));
};
template <> struct Eight<BFloat16> : Eight<float> {};

template <typename Type> using Values = typename Eight<Type>::Values;

// Eight values from memory, or, of a row's end, the first `count` of them and zeros.
template <bool Partial, typename Type> inline Values<Type> load(const Type *from, Size count) {
    Values<Type> values{};
    std::memcpy(&values, from, Partial ? std::size_t(count) * sizeof(Type) : sizeof(values));
    return values;
}

template <bool Partial, typename Type> inline void store(Type *to, Size count, const Values<Type> &values) {
    std::memcpy(to, &values, Partial ? std::size_t(count) * sizeof(Type) : sizeof(values));
}

typedef std::uint16_t Halves __attribute__((vector_size(16)));
typedef std::uint32_t Words __attribute__((vector_size(32)));

template <bool Partial> inline Values<float> load(const BFloat16 *from, Size count) {
    Halves halves{};
    std::memcpy(&halves, from, Partial ? std::size_t(count) * 2 : 16);
    const Words words = __builtin_convertvector(halves, Words) << 16;
    Values<float> values;
    std::memcpy(&values, &words, 32);
    return values;
}

// To the nearest, ties to even; what is no number stays none.
template <bool Partial> inline void store(BFloat16 *to, Size count, const Values<float> &values) {
    Words words;
    std::memcpy(&words, &values, 32);
    const Words unordered = Words((words & 0x7fffffff) > 0x7f800000);
    const Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16, quiet = (words >> 16) | 64;
    const Halves halves = __builtin_convertvector((unordered & quiet) | (~unordered & rounded), Halves);
    std::memcpy(to, &halves, Partial ? std::size_t(count) * 2 : 16);
}

// The values where the bits are set, elsewhere 0.
template <typename Type, typename Bits> inline Values<Type> masked(const Values<Type> &values, Bits bits) {
    using Own = typename Eight<Type>::Bits;
    return Values<Type>(Own(values) & Own(bits));
}

template <typename Type> inline typename Eight<Type>::Bits places() {
    return typename Eight<Type>::Bits{1, 2, 4, 8, 16, 32, 64, 128};
}

// A bit a value, the first in the lowest.
template <typename Bits> inline std::uint8_t packed(Bits bits) {
    unsigned all = 0;
    for (int lane = 0; lane < 8; ++lane) all |= unsigned(bits[lane] & 1) << lane;
    return std::uint8_t(all);
}

#ifdef __AVX__
template <> inline std::uint8_t packed(Eight<float>::Bits bits) {
    __m256 values;
    std::memcpy(&values, &bits, 32);
    return std::uint8_t(_mm256_movemask_ps(values));
}
#endif

// Eight rows of eight become eight columns.
template <typename V> inline void turn(V *rows) {
    V old[8];
    for (int i = 0; i < 8; ++i) old[i] = rows[i];
    for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j) rows[i][j] = old[j][i];
}

#ifdef __AVX__
template <> inline void turn(Values<float> *rows) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; ++i) std::memcpy(&a[i], &rows[i], 32);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; ++j) {
            a[i + 2 * j] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
            a[i + 2 * j + 1] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; ++i) {
        b[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        b[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) std::memcpy(&rows[i], &b[i], 32);
}
#endif

// Calls body(parts, partial, first channel, lanes): sixteen channels at a time as two parts, then eight, then the rest.
template <typename Body> inline void columns(Size channels, Body body) {
    Size channel = 0;
    for (; channel + 16 <= channels; channel += 16)
        body(std::integral_constant<int, 2>(), std::false_type(), channel, Size(8));
    for (; channel + 8 <= channels; channel += 8)
        body(std::integral_constant<int, 1>(), std::false_type(), channel, Size(8));
    if (channel < channels) body(std::integral_constant<int, 1>(), std::true_type(), channel, channels - channel);
}

// Calls body(first row, last row + 1) over a thread's share of the rows, as many at a time as the first cache holds.
template <typename Body> inline void blocks(Size rows, Size bytes, int thread, int threads, Body body) {
    const Size begin = rows * thread / threads, end = rows * (thread + 1) / threads;
    const Size step = std::max<Size>(8, 16 * 1024 / bytes);
    for (Size row = begin; row < end; row += step) body(row, std::min(end, row + step));
}
