// The gradient of single scalars of a convolution's filters, without that of the others.

#include <vector>

#include "vectors.h"

namespace {

// Output places down the picture whose input row, place * stride + offset, lies within it.
struct Range {
    Size begin, end;

    Range(Size outputs, Size inputs, Size stride, Size offset)
        : begin(offset < 0 ? (-offset + stride - 1) / stride : 0),
          end(std::min(outputs, inputs > offset ? (inputs - offset - 1) / stride + 1 : 0)) {}
};

// A picture's channels one after another, each with its rows, and zeros around what lies in a row, so that sums over
// a row are sums over eights. Of a stride s there are s rows for one: columns 0, s, 2 s, ..., then 1, s + 1, ...
template <typename Type> struct Turned {
    static constexpr Size MARGIN = 16;
    Size height, width, channels, stride, length;
    Size plane;  // between two channels: no power of two, for which a cache would have but one place
    std::vector<Type> values;

    Turned(Size height, Size width, Size channels, Size stride, Size columns)
        : height(height), width(width), channels(channels), stride(stride),
          length(std::max((width + stride - 1) / stride, (columns + 7) / 8 * 8) + 2 * MARGIN),
          plane(height * stride * length + MARGIN), values(channels * plane) {}

    // Columns from `side` on, every `stride`-th.
    const Type *row(Size channel, Size row, Size side) const {
        const Size phase = (side % stride + stride) % stride;
        return values.data() + channel * plane + (row * stride + phase) * length + MARGIN + (side - phase) / stride;
    }

    void take(const Type *picture) {
        for (Size row = 0; row < height; ++row, picture += width * channels) {
            Size column = 0;
            if (stride == 1 && channels % 8 == 0)
                for (; column + 8 <= width; column += 8)
                    for (Size channel = 0; channel < channels; channel += 8) {
                        Values<Type> eight[8];
                        for (Size i = 0; i < 8; ++i)
                            eight[i] = load<false>(picture + (column + i) * channels + channel, 8);
                        turn(eight);
                        Type *to = values.data() + channel * plane + row * length + MARGIN + column;
                        for (Size i = 0; i < 8; ++i) store<false>(to + i * plane, 8, eight[i]);
                    }
            for (; column < width; ++column) {
                Type *to = values.data() + (row * stride + column % stride) * length + MARGIN + column / stride;
                for (Size channel = 0; channel < channels; ++channel)
                    to[channel * plane] = picture[column * channels + channel];
            }
        }
    }
};

// result[o, k] = sum over n, y, x of gradient[n, y, x, o] input[n, y stride + row, x stride + column, channel], where
// places[o, k] = (channel, row, column).
template <typename Type>
void gradient(const Type *input, const Type *gradient, const Size *places, Type *result, Size images, Size height,
              Size width, Size channels, Size rows, Size columns, Size filters, Size count, Size stride, int threads) {
    const Size each = filters * count;
    std::vector<double> sums(each * threads, 0.0);
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        double *own = sums.data() + each * thread;
        Turned<Type> from(height, width, channels, stride, columns), back(rows, columns, filters, 1, columns);
        for (Size image = images * thread / all; image < images * (thread + 1) / all; ++image) {
            from.take(input + image * height * width * channels);
            back.take(gradient + image * rows * columns * filters);
            for (Size i = 0; i < each; ++i) {
                const Size channel = places[3 * i], down = places[3 * i + 1], side = places[3 * i + 2];
                const Range range(rows, height, stride, down);
                Values<Type> even{}, odd{};  // an addition waits for the one before it
                for (Size row = range.begin; row < range.end; ++row) {
                    const Type *left = back.row(i / count, row, 0);
                    const Type *right = from.row(channel, row * stride + down, side);
                    Size x = 0;
                    for (; x + 8 < columns; x += 16) {
                        even += load<false>(left + x, 8) * load<false>(right + x, 8);
                        odd += load<false>(left + x + 8, 8) * load<false>(right + x + 8, 8);
                    }
                    if (x < columns) even += load<false>(left + x, 8) * load<false>(right + x, 8);
                }
                for (Size lane = 0; lane < 8; ++lane) own[i] += double(even[lane]) + double(odd[lane]);
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
                                   Size filters, Size count, Size stride, int threads) {                              \
        gradient(static_cast<const STORED *>(input), static_cast<const STORED *>(back), places,                       \
                 static_cast<STORED *>(result), images, height, width, channels, rows, columns, filters, count,       \
                 stride, threads);                                                                                    \
    }

SCALARS(float32, float)
SCALARS(float64, double)
