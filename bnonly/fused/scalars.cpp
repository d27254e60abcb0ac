// The gradient of single scalars of a convolution's filters, without that of the others.

#include <vector>

#include "vectors.h"

namespace {

// A picture with zeros around it, so that no place of a filter has to be asked whether it lies within.
template <typename Type> struct Framed {
    Size height, width, channels, above, left, line;  // line: values of a row, frame included
    std::vector<Type> values;

    // The frame holds every input of `rows` x `columns` places that are `stride` apart, offsets included.
    Framed(Size height, Size width, Size channels, const Size *places, Size count, Size rows, Size columns, Size stride)
        : height(height), width(width), channels(channels), above(0), left(0) {
        Size below = height, right = width;
        for (Size i = 0; i < count; ++i) {
            const Size down = places[3 * i + 1], side = places[3 * i + 2];
            above = std::max(above, -down), left = std::max(left, -side);
            below = std::max(below, (rows - 1) * stride + down + 1);
            right = std::max(right, (columns - 1) * stride + side + 1);
        }
        line = (left + right) * channels;
        values.resize(std::size_t((above + below) * line));
    }

    // With a scale and a shift [channels]: max(0, scale picture + shift) within the frame.
    void take(const Type *picture, const Type *scale, const Type *shift) {
        Type *to = values.data() + above * line + left * channels;
        for (Size row = 0; row < height; ++row, picture += width * channels, to += line)
            if (!scale)
                std::copy_n(picture, width * channels, to);
            else
                for (Size column = 0; column < width; ++column)
                    for (Size channel = 0, at = column * channels; channel < channels; ++channel, ++at) {
                        const Type value = picture[at] * scale[channel] + shift[channel];
                        to[at] = value < 0 ? 0 : value;  // what is no number stays none
                    }
    }

    Size offset(const Size *place) const { return (place[1] + above) * line + (place[2] + left) * channels + place[0]; }
};

// Fetches memory while sums are taken, which without it take half as long as waiting for what they sum.
struct Ahead {
    const char *at[2];  // of the next picture, and of its gradient
    Size left[2];       // bytes
    void fetch(Size each) {
        for (int i = 0; i < 2; ++i)
            for (const Size end = std::max<Size>(0, left[i] - each); left[i] > end; left[i] -= 64, at[i] += 64)
                __builtin_prefetch(at[i], 0, 2);
    }
};

// Of eight filters, one scalar each, or of the last `filters`: a picture's sums.
template <bool Partial, typename Type>
Values<Type> products(const Type *input, const Size *offsets, const Type *back, Size rows, Size columns, Size line,
                      Size step, Size filters, Size lanes, Ahead &ahead, Size each) {
    Values<Type> total{};
    for (Size row = 0; row < rows; ++row, input += line) {
        ahead.fetch(each);
        Values<Type> sum{};  // of a row, so that few values are added to large ones
        const Type *at = input;
        for (Size column = 0; column < columns; ++column, at += step, back += filters) {
            const Values<Type> met{at[offsets[0]], at[offsets[1]], at[offsets[2]], at[offsets[3]],
                                   at[offsets[4]], at[offsets[5]], at[offsets[6]], at[offsets[7]]};
            sum += met * load<Partial>(back, lanes);
        }
        total += sum;
    }
    return total;
}

// result[o, k] = sum over n, y, x of gradient[n, y, x, o] input[n, y stride + row, x stride + column, channel], where
// places[o, k] = (channel, row, column), of the input scaled, shifted and through its ReLU where they are given.
template <typename Type>
void gradient(const Type *input, const Type *gradient, const Size *places, Type *result, Size images, Size height,
              Size width, Size channels, Size rows, Size columns, Size filters, Size count, Size stride,
              const Type *scale, const Type *shift, int threads) {
    const Size each = filters * count, eights = (filters + 7) / 8;
    std::vector<double> sums(each * threads, 0.0);
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        double *own = sums.data() + each * thread;
        Framed<Type> from(height, width, channels, places, each, rows, columns, stride);
        std::vector<Size> offsets(std::size_t(eights * 8 * count));  // [k][o]; of no filter: anywhere within
        for (Size i = 0; i < each; ++i) offsets[i % count * eights * 8 + i / count] = from.offset(places + 3 * i);
        const Size inputs = height * width * channels, outputs = rows * columns * filters;
        const Size turns = eights * count * rows, end = images * (thread + 1) / all;
        const Size bytes = (std::max(inputs, outputs) * Size(sizeof(Type)) + turns - 1) / turns;
        for (Size image = images * thread / all; image < end; ++image) {
            from.take(input + image * inputs, scale, shift);
            const Type *back = gradient + image * outputs;
            const auto next = [&](const Type *from, Size step) {
                return reinterpret_cast<const char *>(from + (image + 1) * step);
            };
            const Size more = image + 1 < end ? Size(sizeof(Type)) : 0;
            Ahead ahead{{next(input, inputs), next(gradient, outputs)}, {more * inputs, more * outputs}};
            for (Size first = 0; first < filters; first += 8)
                for (Size k = 0; k < count; ++k) {
                    const Size lanes = std::min<Size>(8, filters - first);
                    const auto kernel = lanes == 8 ? products<false, Type> : products<true, Type>;
                    const Values<Type> found =
                        kernel(from.values.data(), &offsets[k * eights * 8 + first], back + first, rows, columns,
                               stride * from.line, stride * channels, filters, lanes, ahead, bytes);
                    for (Size lane = 0; lane < lanes; ++lane) own[(first + lane) * count + k] += double(found[lane]);
                }
        }
    }
    for (Size i = 0; i < each; ++i) {
        double total = 0;
        for (int thread = 0; thread < threads; ++thread) total += sums[i + each * thread];
        result[i] = Type(total);
    }
}

}  // namespace

#define SCALARS(TYPE, STORED)                                                                                         \
    extern "C" void scalars_##TYPE(const void *input, const void *back, const Size *places, void *result,             \
                                   Size images, Size height, Size width, Size channels, Size rows, Size columns,      \
                                   Size filters, Size count, Size stride, const void *scale, const void *shift,       \
                                   int threads) {                                                                     \
        gradient(static_cast<const STORED *>(input), static_cast<const STORED *>(back), places,                       \
                 static_cast<STORED *>(result), images, height, width, channels, rows, columns, filters, count,       \
                 stride, static_cast<const STORED *>(scale), static_cast<const STORED *>(shift), threads);            \
    }

SCALARS(float32, float)
SCALARS(float64, double)
