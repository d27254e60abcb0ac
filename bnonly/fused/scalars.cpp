// The gradient of single scalars of a convolution's filters, without that of the others.

#include <vector>

#include "vectors.h"

namespace {

// Output places along one axis whose input place, place * stride + offset, lies within the image.
struct Range {
    Size begin, end;

    Range(Size outputs, Size inputs, Size stride, Size offset)
        : begin(offset < 0 ? (-offset + stride - 1) / stride : 0),
          end(std::min(outputs, inputs > offset ? (inputs - offset - 1) / stride + 1 : 0)) {}
};

// result[o, k] = sum over n, y, x of gradient[n, y, x, o] input[n, y stride + row, x stride + column, channel], where
// places[o, k] = (channel, row, column). One output row at a time: what its sums read stays in the first cache.
template <typename Type>
void gradient(const Type *input, const Type *gradient, const Size *places, Type *result, Size images, Size height,
              Size width, Size channels, Size rows, Size columns, Size filters, Size count, Size stride, int threads) {
    const Size each = filters * count;
    std::vector<double> sums(each * threads, 0.0);
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        double *own = sums.data() + each * thread;
        const Size lines = images * rows;
        for (Size line = lines * thread / all; line < lines * (thread + 1) / all; ++line) {
            const Size image = line / rows, row = line % rows;
            for (Size i = 0; i < each; ++i) {
                const Size channel = places[3 * i], at = row * stride + places[3 * i + 1], side = places[3 * i + 2];
                if (at < 0 || at >= height) continue;
                const Range range(columns, width, stride, side);
                const Type *back = gradient + line * columns * filters + i / count;
                const Type *from = input + ((image * height + at) * width + side) * channels + channel;
                const Size step = stride * channels;
                Type sums[4] = {};  // an addition waits for the one before it: four at a time do not
                Size x = range.begin;
                for (; x + 4 <= range.end; x += 4)
                    for (Size part = 0; part < 4; ++part)
                        sums[part] += back[(x + part) * filters] * from[(x + part) * step];
                for (; x < range.end; ++x) sums[0] += back[x * filters] * from[x * step];
                own[i] += double((sums[0] + sums[1]) + (sums[2] + sums[3]));
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
