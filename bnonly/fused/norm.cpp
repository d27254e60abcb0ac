// BatchNorm, ReLU and the residual sum in as few passes over memory as they need, forward and backward.
//
// Values are rows of channels: [rows, channels], rows = images x height x width, as channels_last tensors lie in
// memory. The interface is C's, so that building takes seconds and needs nothing of torch. Threads are OpenMP's,
// which are the ones torch has already.

#include <cmath>
#include <vector>

#include "vectors.h"

namespace {

constexpr Size SAMPLES = 64;  // rows whose mean is taken out before squares are summed

// Two sums over rows, by channel, [2, channels] for each thread, in double.
struct Sums {
    Size channels;
    std::vector<double> values;

    Sums(Size channels, int threads) : channels(channels), values(2 * channels * threads, 0.0) {}
    double *of(int thread) { return values.data() + 2 * channels * thread; }
    void gather(int threads) {
        for (int thread = 1; thread < threads; ++thread)
            for (Size i = 0; i < 2 * channels; ++i) values[i] += of(thread)[i];
    }
    template <typename Type> void add(int thread, Size channel, Size count, Values<Type> first, Values<Type> second) {
        for (Size lane = 0; lane < count; ++lane) {
            of(thread)[channel + lane] += double(first[lane]);
            of(thread)[channels + channel + lane] += double(second[lane]);
        }
    }
};

template <typename Type> struct Statistics {
    Type *mean, *inverse, *scale, *shift;  // inverse: of the standard deviation; output = scale input + shift

    Statistics(void *all, Size channels) : mean(static_cast<Type *>(all)) {
        inverse = mean + channels, scale = inverse + channels, shift = scale + channels;
    }
};

template <typename Stored> struct Forward {
    using Type = typename Computed<Stored>::Type;
    using V = Values<Type>;
    const Stored *input, *residual;
    Stored *output;  // null: statistics alone are wanted
    std::uint8_t *signs;
    Size rows, channels;
    const double *known;  // [2, channels], sums of the input and of its squares, or null: they are taken here
    const Type *gamma, *beta;
    Type *running_mean, *running_var;
    Statistics<Type> statistics;
    double momentum, epsilon;

    template <bool Relu> void run(bool training, int threads) {
        std::vector<Type> centre(channels);
        Sums sums(channels, threads);
        const bool taking = training && !known;
        if (taking) sample(centre);
        if (training && known) std::copy_n(known, 2 * channels, sums.of(0));
        if (!output && !taking) return settle(training, centre, sums);
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num(), count = omp_get_num_threads();
            const Size bytes = channels * Size(sizeof(Stored));
            if (taking)
                blocks(rows, bytes, thread, count,
                       [&](Size begin, Size end) { add(begin, end, centre.data(), sums, thread); });
#pragma omp barrier
#pragma omp single
            {
                sums.gather(count);
                settle(training, centre, sums);
            }
            if (output)
                blocks(rows, bytes, thread, count, [&](Size begin, Size end) {
                    if (signs)
                        apply<true, true, Relu>(begin, end);
                    else if (residual)
                        apply<true, false, Relu>(begin, end);
                    else
                        apply<false, false, Relu>(begin, end);
                });
        }
    }

    // Something near the mean, since squares of large numbers would drown a small variance.
    void sample(std::vector<Type> &centre) {
        const Size count = std::min(rows, SAMPLES);
        for (Size i = 0; i < count; ++i)
            columns(channels, [&](auto parts, auto partial, Size channel, Size lanes) {
                for (int part = 0; part < parts; ++part) {
                    const Size at = channel + 8 * part;
                    const V value = load<partial()>(input + rows * i / count * channels + at, lanes);
                    for (Size lane = 0; lane < lanes; ++lane) centre[at + lane] += value[lane] / Type(count);
                }
            });
    }

    void add(Size begin, Size end, const Type *centre, Sums &sums, int thread) {
        columns(channels, [&](auto parts, auto partial, Size channel, Size lanes) {
            V first[parts()], second[parts()], middle[parts()];
            for (int part = 0; part < parts; ++part) {
                first[part] = second[part] = V{};
                middle[part] = load<partial()>(centre + channel + 8 * part, lanes);
            }
            for (Size row = begin; row < end; ++row)
                for (int part = 0; part < parts; ++part) {
                    const V value = load<partial()>(input + row * channels + channel + 8 * part, lanes) - middle[part];
                    first[part] += value;
                    second[part] += value * value;
                }
            for (int part = 0; part < parts; ++part)
                sums.add<Type>(thread, channel + 8 * part, lanes, first[part], second[part]);
        });
    }

    // Mean, deviation and running statistics by channel; the variance that is kept running is the unbiased one.
    void settle(bool training, const std::vector<Type> &centre, const Sums &sums) {
        for (Size c = 0; c < channels; ++c) {
            double mean = double(running_mean[c]), variance = double(running_var[c]);
            if (training) {
                const double off = sums.values[c] / double(rows);
                mean = double(centre[c]) + off;
                variance = std::max(0.0, sums.values[channels + c] / double(rows) - off * off);
                if (std::isnan(sums.values[channels + c])) variance = sums.values[channels + c];
                const double unbiased = variance * double(rows) / double(std::max<Size>(1, rows - 1));
                running_mean[c] = Type((1 - momentum) * double(running_mean[c]) + momentum * mean);
                running_var[c] = Type((1 - momentum) * double(running_var[c]) + momentum * unbiased);
            }
            const double inverse = 1 / std::sqrt(variance + epsilon), scale = double(gamma[c]) * inverse;
            statistics.mean[c] = Type(mean);
            statistics.inverse[c] = Type(inverse);
            statistics.scale[c] = Type(scale);
            statistics.shift[c] = Type(double(beta[c]) - mean * scale);
        }
    }

    template <bool Added, bool Signed, bool Relu> void apply(Size begin, Size end) {
        const Size bytes = (channels + 7) / 8;
        columns(channels, [&](auto parts, auto partial, Size channel, Size lanes) {
            V scale[parts()], shift[parts()];
            for (int part = 0; part < parts; ++part) {
                scale[part] = load<partial()>(statistics.scale + channel + 8 * part, lanes);
                shift[part] = load<partial()>(statistics.shift + channel + 8 * part, lanes);
            }
            for (Size row = begin; row < end; ++row)
                for (int part = 0; part < parts; ++part) {
                    const Size at = row * channels + channel + 8 * part;
                    V value = load<partial()>(input + at, lanes) * scale[part] + shift[part];
                    if constexpr (Added) value += load<partial()>(residual + at, lanes);
                    if constexpr (Relu) value = masked<Type>(value, ~(value < 0));
                    if constexpr (Signed) signs[row * bytes + channel / 8 + part] = packed(value > 0);
                    store<partial()>(output + at, lanes, value);
                }
        });
    }
};

// Where a ReLU has let a gradient through: everywhere, where the signs say, or where scale input + shift is positive.
enum Gate { OPEN, SIGNS, AGAIN };

template <typename Stored> struct Backward {
    using Type = typename Computed<Stored>::Type;
    using V = Values<Type>;
    const Stored *gradient, *input;
    const std::uint8_t *signs;
    Stored *input_gradient, *residual_gradient;  // each may be null: not wanted
    Size rows, channels;
    Statistics<Type> statistics;  // forward's
    Type *gamma_gradient, *beta_gradient;

    template <Gate gate> void run(bool training, int threads) {
        std::vector<Type> slope(channels), level(channels);
        Sums sums(channels, threads);
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num(), count = omp_get_num_threads();
            const Size bytes = 2 * channels * Size(sizeof(Stored));
            blocks(rows, bytes, thread, count, [&](Size begin, Size end) {
                if (residual_gradient)
                    add<gate, true>(begin, end, sums, thread);
                else
                    add<gate, false>(begin, end, sums, thread);
            });
#pragma omp barrier
#pragma omp single
            {
                sums.gather(count);
                settle(training, sums, slope, level);
            }
            if (input_gradient)
                blocks(rows, bytes, thread, count, [&](Size begin, Size end) {
                    if (residual_gradient)  // where the first pass has left what came through
                        apply<OPEN>(residual_gradient, begin, end, slope.data(), level.data());
                    else
                        apply<gate>(gradient, begin, end, slope.data(), level.data());
                });
        }
    }

    template <Gate gate> V through(const V &back, const V &value, const V &scale, const V &shift, Size byte) {
        if constexpr (gate == SIGNS) {
            const auto at = places<Type>();
            return masked<Type>(back, (at & typename Eight<Type>::Word(signs[byte])) != 0);
        } else if constexpr (gate == AGAIN) {
            return masked<Type>(back, value * scale + shift > 0);
        } else {
            return back;
        }
    }

    template <Gate gate, bool Kept> void add(Size begin, Size end, Sums &sums, int thread) {
        const Size bytes = (channels + 7) / 8;
        columns(channels, [&](auto parts, auto partial, Size channel, Size lanes) {
            V first[parts()], second[parts()], scale[parts()], shift[parts()], mean[parts()];
            for (int part = 0; part < parts; ++part) {
                const Size at = channel + 8 * part;
                first[part] = second[part] = V{};
                scale[part] = load<partial()>(statistics.scale + at, lanes);
                shift[part] = load<partial()>(statistics.shift + at, lanes);
                mean[part] = load<partial()>(statistics.mean + at, lanes);
            }
            for (Size row = begin; row < end; ++row)
                for (int part = 0; part < parts; ++part) {
                    const Size at = row * channels + channel + 8 * part, byte = row * bytes + channel / 8 + part;
                    const V value = load<partial()>(input + at, lanes);
                    const V back = through<gate>(load<partial()>(gradient + at, lanes), value, scale[part], shift[part], byte);
                    if constexpr (Kept) store<partial()>(residual_gradient + at, lanes, back);
                    first[part] += back;
                    second[part] += back * (value - mean[part]);
                }
            for (int part = 0; part < parts; ++part)
                sums.add<Type>(thread, channel + 8 * part, lanes, first[part], second[part]);
        });
    }

    // d input = scale (g - mean(g) - normalised mean(g normalised)) = scale g + slope (input - mean) + level.
    void settle(bool training, const Sums &sums, std::vector<Type> &slope, std::vector<Type> &level) {
        for (Size c = 0; c < channels; ++c) {
            const double first = sums.values[c], second = sums.values[channels + c];
            const double inverse = double(statistics.inverse[c]), scale = double(statistics.scale[c]);
            beta_gradient[c] = Type(first);
            gamma_gradient[c] = Type(second * inverse);
            slope[c] = training ? Type(-scale * inverse * inverse * second / double(rows)) : Type(0);
            level[c] = training ? Type(-scale * first / double(rows)) : Type(0);
        }
    }

    template <Gate gate> void apply(const Stored *from, Size begin, Size end, const Type *slope, const Type *level) {
        const Size bytes = (channels + 7) / 8;
        columns(channels, [&](auto parts, auto partial, Size channel, Size lanes) {
            V scale[parts()], shift[parts()], mean[parts()], along[parts()], up[parts()];
            for (int part = 0; part < parts; ++part) {
                const Size at = channel + 8 * part;
                scale[part] = load<partial()>(statistics.scale + at, lanes);
                shift[part] = load<partial()>(statistics.shift + at, lanes);
                mean[part] = load<partial()>(statistics.mean + at, lanes);
                along[part] = load<partial()>(slope + at, lanes);
                up[part] = load<partial()>(level + at, lanes);
            }
            for (Size row = begin; row < end; ++row)
                for (int part = 0; part < parts; ++part) {
                    const Size at = row * channels + channel + 8 * part, byte = row * bytes + channel / 8 + part;
                    const V value = load<partial()>(input + at, lanes);
                    const V back = through<gate>(load<partial()>(from + at, lanes), value, scale[part], shift[part], byte);
                    store<partial()>(input_gradient + at, lanes,
                                     scale[part] * back + (along[part] * (value - mean[part]) + up[part]));
                }
        });
    }
};

// statistics: [4, channels], mean, inverse deviation, scale and shift; written by forward, read by backward.
template <typename Stored>
void forward(const void *input, const void *residual, void *output, void *signs, Size rows, Size channels,
             const void *sums, const void *gamma, const void *beta, void *running_mean, void *running_var, void *statistics,
             double momentum, double epsilon, int training, int relu, int threads) {
    using Type = typename Computed<Stored>::Type;
    Forward<Stored> work{static_cast<const Stored *>(input), static_cast<const Stored *>(residual),
                         static_cast<Stored *>(output), static_cast<std::uint8_t *>(signs), rows, channels,
                         static_cast<const double *>(sums), static_cast<const Type *>(gamma), static_cast<const Type *>(beta),
                         static_cast<Type *>(running_mean), static_cast<Type *>(running_var),
                         {statistics, channels}, momentum, epsilon};
    relu ? work.template run<true>(training, threads) : work.template run<false>(training, threads);
}

template <typename Stored>
void backward(const void *gradient, const void *input, const void *signs, void *input_gradient,
              void *residual_gradient, Size rows, Size channels, void *statistics, void *gamma_gradient,
              void *beta_gradient, int training, int relu, int threads) {
    using Type = typename Computed<Stored>::Type;
    Backward<Stored> work{static_cast<const Stored *>(gradient), static_cast<const Stored *>(input),
                          static_cast<const std::uint8_t *>(signs), static_cast<Stored *>(input_gradient),
                          static_cast<Stored *>(residual_gradient), rows, channels, {statistics, channels},
                          static_cast<Type *>(gamma_gradient), static_cast<Type *>(beta_gradient)};
    if (signs)
        work.template run<SIGNS>(training, threads);
    else if (relu)
        work.template run<AGAIN>(training, threads);
    else
        work.template run<OPEN>(training, threads);
}

}  // namespace

#define KERNELS(TYPE, STORED)                                                                                         \
    extern "C" void forward_##TYPE(const void *input, const void *residual, void *output, void *signs, Size rows,     \
                                   Size channels, const void *sums, const void *gamma, const void *beta,              \
                                   void *running_mean, void *running_var, void *statistics, double momentum,          \
                                   double epsilon, int training, int relu, int threads) {                             \
        forward<STORED>(input, residual, output, signs, rows, channels, sums, gamma, beta, running_mean, running_var, \
                        statistics, momentum, epsilon, training, relu, threads);                                      \
    }                                                                                                                 \
    extern "C" void backward_##TYPE(const void *gradient, const void *input, const void *signs, void *input_gradient, \
                                    void *residual_gradient, Size rows, Size channels, void *statistics,              \
                                    void *gamma_gradient, void *beta_gradient, int training, int relu, int threads) { \
        backward<STORED>(gradient, input, signs, input_gradient, residual_gradient, rows, channels, statistics,       \
                         gamma_gradient, beta_gradient, training, relu, threads);                                     \
    }

KERNELS(float32, float)
KERNELS(float64, double)
KERNELS(bfloat16, BFloat16)
