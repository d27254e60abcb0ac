// BatchNorm, ReLU and the residual sum in as few passes over memory as they need, forward and backward.
//
// Values are rows of channels: [rows, channels], rows = images x height x width, as channels_last tensors lie in
// memory. The interface is C's, so that building takes seconds and needs nothing of torch. Threads are OpenMP's,
// which are the ones torch has already.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
static int omp_get_num_threads() { return 1; }
#endif

namespace {

using Size = std::int64_t;

struct BFloat16 {
    std::uint16_t bits;
};

// What values are computed in, and how they are stored.
template <typename Stored> struct Number {
    using Type = Stored;
    static Type load(Stored value) { return value; }
    static Stored store(Type value) { return value; }
};

template <> struct Number<BFloat16> {
    using Type = float;
    static float load(BFloat16 value) {
        const std::uint32_t bits = std::uint32_t(value.bits) << 16;
        float number;
        std::memcpy(&number, &bits, 4);
        return number;
    }
    static BFloat16 store(float number) {
        std::uint32_t bits;
        std::memcpy(&bits, &number, 4);
        if ((bits & 0x7fffffff) > 0x7f800000) return {std::uint16_t(bits >> 16 | 64)};  // not a number stays one
        return {std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};               // to nearest, ties to even
    }
};

constexpr Size BLOCK = 16 * 1024;  // bytes of a tensor at a time: they stay in the first cache from pass to pass
constexpr Size SAMPLES = 64;       // rows whose mean is taken out before sums of squares

// Calls body(first row, last row + 1) over the blocks of a thread's share of the rows.
template <typename Body> void blocks(Size rows, Size width, int thread, int threads, Body body) {
    const Size begin = rows * thread / threads, end = rows * (thread + 1) / threads;
    const Size step = std::max<Size>(8, BLOCK / width);
    for (Size row = begin; row < end; row += step) body(row, std::min(end, row + step));
}

// Calls body.template operator()<lanes>(first channel): 16 channels at a time, then 8, then one by one.
template <typename Body> void lanes(Size channels, Body body) {
    Size channel = 0;
    for (; channel + 16 <= channels; channel += 16) body(std::integral_constant<int, 16>(), channel);
    for (; channel + 8 <= channels; channel += 8) body(std::integral_constant<int, 8>(), channel);
    for (; channel < channels; ++channel) body(std::integral_constant<int, 1>(), channel);
}

// A positive value's bit in a row's mask of (channels + 7) / 8 bytes.
template <int Lanes, typename Type> void put_bits(const Type *values, Size channel, std::uint8_t *mask) {
    if constexpr (Lanes == 1) {
        const std::uint8_t bit = std::uint8_t(1 << channel % 8);
        std::uint8_t &byte = mask[channel / 8];
        byte = values[0] > 0 ? byte | bit : byte & ~bit;
    } else {
        for (int part = 0; part < Lanes; part += 8) {
            unsigned bits = 0;
            for (int lane = 0; lane < 8; ++lane) bits |= unsigned(values[part + lane] > 0) << lane;
            mask[(channel + part) / 8] = std::uint8_t(bits);
        }
    }
}

template <int Lanes, typename Type> void take_bits(const std::uint8_t *mask, Size channel, Type *values) {
    for (int lane = 0; lane < Lanes; ++lane) {
        const Size at = channel + lane;
        values[lane] = (mask[at / 8] >> at % 8 & 1) ? values[lane] : Type(0);
    }
}

// Sums over rows, by channel: [2, channels] for each thread, in double.
struct Sums {
    Size channels;
    std::vector<double> values;

    Sums(Size channels, int threads) : channels(channels), values(2 * channels * threads, 0.0) {}
    double *of(int thread) { return values.data() + 2 * channels * thread; }
    void gather(int threads) {
        for (int thread = 1; thread < threads; ++thread)
            for (Size i = 0; i < 2 * channels; ++i) values[i] += of(thread)[i];
    }
};

template <typename Stored> struct Forward {
    using Type = typename Number<Stored>::Type;
    const Stored *input, *residual;
    Stored *output;
    std::uint8_t *mask;
    Size rows, channels;
    const Type *gamma, *beta;
    Type *running_mean, *running_var;
    Type *mean, *inverse, *scale, *shift;  // inverse: of the standard deviation; output = scale input + shift
    double momentum, epsilon;
    bool training, relu;

    void run(int threads) {
        std::vector<Type> centre(channels);
        Sums sums(channels, threads);
        if (training) sample(centre);
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num(), count = omp_get_num_threads();
            if (training)
                blocks(rows, channels * Size(sizeof(Stored)), thread, count,
                       [&](Size begin, Size end) { add(begin, end, centre.data(), sums.of(thread)); });
#pragma omp barrier
#pragma omp single
            {
                sums.gather(count);
                settle(centre, sums);
            }
            blocks(rows, channels * Size(sizeof(Stored)), thread, count,
                   [&](Size begin, Size end) { apply(begin, end); });
        }
    }

    // Something near the mean, since squares of large numbers would drown a small variance.
    void sample(std::vector<Type> &centre) {
        const Size count = std::min(rows, SAMPLES);
        std::vector<double> total(channels, 0.0);
        for (Size i = 0; i < count; ++i)
            for (Size c = 0; c < channels; ++c)
                total[c] += double(Number<Stored>::load(input[rows * i / count * channels + c]));
        for (Size c = 0; c < channels; ++c) centre[c] = Type(total[c] / double(count));
    }

    void add(Size begin, Size end, const Type *centre, double *sums) {
        lanes(channels, [&](auto lanes, Size channel) {
            constexpr int Lanes = lanes;
            Type first[Lanes] = {}, second[Lanes] = {}, middle[Lanes];
            for (int lane = 0; lane < Lanes; ++lane) middle[lane] = centre[channel + lane];
            for (Size row = begin; row < end; ++row) {
                const Stored *from = input + row * channels + channel;
                for (int lane = 0; lane < Lanes; ++lane) {
                    const Type value = Number<Stored>::load(from[lane]) - middle[lane];
                    first[lane] += value;
                    second[lane] += value * value;
                }
            }
            for (int lane = 0; lane < Lanes; ++lane) {
                sums[channel + lane] += double(first[lane]);
                sums[channels + channel + lane] += double(second[lane]);
            }
        });
    }

    // Mean, deviation and running statistics by channel; the variance that is kept running is the unbiased one.
    void settle(const std::vector<Type> &centre, const Sums &sums) {
        for (Size c = 0; c < channels; ++c) {
            double middle, variance;
            if (training) {
                const double off = sums.values[c] / double(rows);
                middle = double(centre[c]) + off;
                variance = std::max(0.0, sums.values[channels + c] / double(rows) - off * off);
                if (running_mean) {
                    const double unbiased = variance * double(rows) / double(std::max<Size>(1, rows - 1));
                    running_mean[c] = Type((1 - momentum) * double(running_mean[c]) + momentum * middle);
                    running_var[c] = Type((1 - momentum) * double(running_var[c]) + momentum * unbiased);
                }
            } else {
                middle = double(running_mean[c]);
                variance = double(running_var[c]);
            }
            const double by = 1 / std::sqrt(variance + epsilon);
            mean[c] = Type(middle);
            inverse[c] = Type(by);
            scale[c] = Type(double(gamma[c]) * by);
            shift[c] = Type(double(beta[c]) - middle * double(gamma[c]) * by);
        }
    }

    void apply(Size begin, Size end) {
        const Size bytes = (channels + 7) / 8;
        lanes(channels, [&](auto lanes, Size channel) {
            constexpr int Lanes = lanes;
            Type by[Lanes], plus[Lanes];
            for (int lane = 0; lane < Lanes; ++lane) by[lane] = scale[channel + lane], plus[lane] = shift[channel + lane];
            for (Size row = begin; row < end; ++row) {
                const Size at = row * channels + channel;
                Type value[Lanes];
                for (int lane = 0; lane < Lanes; ++lane)
                    value[lane] = Number<Stored>::load(input[at + lane]) * by[lane] + plus[lane];
                if (residual)
                    for (int lane = 0; lane < Lanes; ++lane) value[lane] += Number<Stored>::load(residual[at + lane]);
                if (relu)
                    for (int lane = 0; lane < Lanes; ++lane) value[lane] = value[lane] < 0 ? Type(0) : value[lane];
                if (mask) put_bits<Lanes>(value, channel, mask + row * bytes);
                for (int lane = 0; lane < Lanes; ++lane) output[at + lane] = Number<Stored>::store(value[lane]);
            }
        });
    }
};

template <typename Stored> struct Backward {
    using Type = typename Number<Stored>::Type;
    const Stored *gradient, *input;
    const std::uint8_t *mask;
    Stored *input_gradient, *residual_gradient;  // each may be null: not wanted
    Size rows, channels;
    const Type *mean, *inverse, *scale, *shift;  // of forward, so that the ReLU is off where it was off
    Type *gamma_gradient, *beta_gradient;
    bool training, relu;

    void run(int threads) {
        std::vector<Type> slope(channels), level(channels);
        Sums sums(channels, threads);
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num(), count = omp_get_num_threads();
            blocks(rows, 2 * channels * Size(sizeof(Stored)), thread, count, [&](Size begin, Size end) {
                add(begin, end, sums.of(thread));
            });
#pragma omp barrier
#pragma omp single
            {
                sums.gather(count);
                settle(sums, slope, level);
            }
            if (input_gradient)
                blocks(rows, 3 * channels * Size(sizeof(Stored)), thread, count, [&](Size begin, Size end) {
                    apply(begin, end, slope.data(), level.data());
                });
        }
    }

    template <int Lanes>
    void through_relu(const Type *value, Type *back, Size row, Size channel, const Type *by, const Type *plus) {
        if (mask)
            take_bits<Lanes>(mask + row * ((channels + 7) / 8), channel, back);
        else if (relu)
            for (int lane = 0; lane < Lanes; ++lane)
                back[lane] = value[lane] * by[lane] + plus[lane] > 0 ? back[lane] : Type(0);
    }

    void add(Size begin, Size end, double *sums) {
        lanes(channels, [&](auto lanes, Size channel) {
            constexpr int Lanes = lanes;
            Type first[Lanes] = {}, second[Lanes] = {}, by[Lanes], plus[Lanes], middle[Lanes];
            for (int lane = 0; lane < Lanes; ++lane) {
                by[lane] = scale[channel + lane], plus[lane] = shift[channel + lane];
                middle[lane] = mean[channel + lane];
            }
            for (Size row = begin; row < end; ++row) {
                const Size at = row * channels + channel;
                Type value[Lanes], back[Lanes];
                for (int lane = 0; lane < Lanes; ++lane) {
                    value[lane] = Number<Stored>::load(input[at + lane]);
                    back[lane] = Number<Stored>::load(gradient[at + lane]);
                }
                through_relu<Lanes>(value, back, row, channel, by, plus);
                if (residual_gradient)
                    for (int lane = 0; lane < Lanes; ++lane)
                        residual_gradient[at + lane] = Number<Stored>::store(back[lane]);
                for (int lane = 0; lane < Lanes; ++lane) {
                    first[lane] += back[lane];
                    second[lane] += back[lane] * (value[lane] - middle[lane]);
                }
            }
            for (int lane = 0; lane < Lanes; ++lane) {
                sums[channel + lane] += double(first[lane]);
                sums[channels + channel + lane] += double(second[lane]);
            }
        });
    }

    // d input = scale (g - mean(g) - normalised mean(g normalised)) = scale g + slope (input - mean) + level.
    void settle(const Sums &sums, std::vector<Type> &slope, std::vector<Type> &level) {
        for (Size c = 0; c < channels; ++c) {
            const double first = sums.values[c], second = sums.values[channels + c], by = double(inverse[c]);
            beta_gradient[c] = Type(first);
            gamma_gradient[c] = Type(second * by);
            slope[c] = training ? Type(-double(scale[c]) * by * by * second / double(rows)) : Type(0);
            level[c] = training ? Type(-double(scale[c]) * first / double(rows)) : Type(0);
        }
    }

    void apply(Size begin, Size end, const Type *slope, const Type *level) {
        const bool masked = residual_gradient != nullptr;  // the first pass has left the masked gradient there
        lanes(channels, [&](auto lanes, Size channel) {
            constexpr int Lanes = lanes;
            Type by[Lanes], plus[Lanes], along[Lanes], up[Lanes], middle[Lanes];
            for (int lane = 0; lane < Lanes; ++lane) {
                by[lane] = scale[channel + lane], plus[lane] = shift[channel + lane];
                along[lane] = slope[channel + lane], up[lane] = level[channel + lane];
                middle[lane] = mean[channel + lane];
            }
            for (Size row = begin; row < end; ++row) {
                const Size at = row * channels + channel;
                Type value[Lanes], back[Lanes];
                const Stored *from = masked ? residual_gradient + at : gradient + at;
                for (int lane = 0; lane < Lanes; ++lane) {
                    value[lane] = Number<Stored>::load(input[at + lane]);
                    back[lane] = Number<Stored>::load(from[lane]);
                }
                if (!masked) through_relu<Lanes>(value, back, row, channel, by, plus);
                for (int lane = 0; lane < Lanes; ++lane)
                    input_gradient[at + lane] = Number<Stored>::store(
                        by[lane] * back[lane] + along[lane] * (value[lane] - middle[lane]) + up[lane]);
            }
        });
    }
};

// statistics: [4, channels], mean, inverse deviation, scale and shift; written by forward, read by backward.
template <typename Stored>
void forward(const void *input, const void *residual, void *output, void *mask, Size rows, Size channels,
             const void *gamma, const void *beta, void *running_mean, void *running_var, void *statistics,
             double momentum, double epsilon, int training, int relu, int threads) {
    using Type = typename Number<Stored>::Type;
    Type *const each = static_cast<Type *>(statistics);
    Forward<Stored>{static_cast<const Stored *>(input), static_cast<const Stored *>(residual),
                    static_cast<Stored *>(output), static_cast<std::uint8_t *>(mask), rows, channels,
                    static_cast<const Type *>(gamma), static_cast<const Type *>(beta),
                    static_cast<Type *>(running_mean), static_cast<Type *>(running_var), each, each + channels,
                    each + 2 * channels, each + 3 * channels, momentum, epsilon, training != 0, relu != 0}
        .run(threads);
}

template <typename Stored>
void backward(const void *gradient, const void *input, const void *mask, void *input_gradient,
              void *residual_gradient, Size rows, Size channels, const void *statistics, void *gamma_gradient,
              void *beta_gradient, int training, int relu, int threads) {
    using Type = typename Number<Stored>::Type;
    const Type *const each = static_cast<const Type *>(statistics);
    Backward<Stored>{static_cast<const Stored *>(gradient), static_cast<const Stored *>(input),
                     static_cast<const std::uint8_t *>(mask), static_cast<Stored *>(input_gradient),
                     static_cast<Stored *>(residual_gradient), rows, channels, each, each + channels,
                     each + 2 * channels, each + 3 * channels, static_cast<Type *>(gamma_gradient),
                     static_cast<Type *>(beta_gradient), training != 0, relu != 0}
        .run(threads);
}

}  // namespace

#define KERNELS(TYPE, STORED)                                                                                         \
    extern "C" void forward_##TYPE(const void *input, const void *residual, void *output, void *mask, Size rows,      \
                                   Size channels, const void *gamma, const void *beta, void *running_mean,            \
                                   void *running_var, void *statistics, double momentum, double epsilon,              \
                                   int training, int relu, int threads) {                                             \
        forward<STORED>(input, residual, output, mask, rows, channels, gamma, beta, running_mean, running_var,        \
                        statistics, momentum, epsilon, training, relu, threads);                                      \
    }                                                                                                                 \
    extern "C" void backward_##TYPE(const void *gradient, const void *input, const void *mask, void *input_gradient,  \
                                    void *residual_gradient, Size rows, Size channels, const void *statistics,        \
                                    void *gamma_gradient, void *beta_gradient, int training, int relu, int threads) { \
        backward<STORED>(gradient, input, mask, input_gradient, residual_gradient, rows, channels, statistics,        \
                         gamma_gradient, beta_gradient, training, relu, threads);                                     \
    }

KERNELS(float32, float)
KERNELS(float64, double)
KERNELS(bfloat16, BFloat16)
