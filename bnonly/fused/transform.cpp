// The weights of convolution.cpp's convolutions, transformed: once where they are frozen.

#include <algorithm>

#include "vectors.h"

namespace {

struct Weights {
    const float *from;     // [k, c, 3, 3]; turned: [c, k, 3, 3]
    const double *matrix;  // G, [size, 3]
    float *to;             // [size][k in sixteens, then eight][size][c][16 or 8], as products read them
    Size k, c, size;
    bool turned;  // those of the input's gradient: flipped, and with channels exchanged

    // G w G^T of one pair of channels, in double.
    void transform(Size row, Size column) const {
        const float *w = from + (turned ? column * k + row : row * c + column) * 9;
        const Size first = row / 16 * 16, wide = std::min<Size>(16, k - first);
        double half[8][3];
        for (Size a = 0; a < size; ++a)
            for (Size j = 0; j < 3; ++j) {
                half[a][j] = 0;
                for (Size i = 0; i < 3; ++i)
                    half[a][j] += matrix[3 * a + i] * double(turned ? w[8 - 3 * i - j] : w[3 * i + j]);
            }
        for (Size a = 0; a < size; ++a)
            for (Size b = 0; b < size; ++b) {
                double sum = 0;
                for (Size j = 0; j < 3; ++j) sum += half[a][j] * matrix[3 * b + j];
                to[(a * k + first) * size * c + (b * c + column) * wide + row - first] = float(sum);
            }
    }
};

}  // namespace

// Of all pairs of channels; or, for each of the weight's first channels, of these `count` second ones.
extern "C" void transform_float32(const void *weight, const void *matrix, void *to, Size k, Size c, Size size,
                                  int turned, const void *seconds, Size count, int threads) {
    const Weights weights{static_cast<const float *>(weight), static_cast<const double *>(matrix),
                          static_cast<float *>(to),           k, c, size, turned != 0};
    const Size *chosen = static_cast<const Size *>(seconds);
    const Size firsts = turned ? c : k, all = turned ? k : c;
#pragma omp parallel for num_threads(threads)
    for (Size first = 0; first < firsts; ++first)
        for (Size i = 0; i < (chosen ? count : all); ++i) {
            const Size second = chosen ? chosen[first * count + i] : i;
            weights.transform(turned ? second : first, turned ? first : second);
        }
}
