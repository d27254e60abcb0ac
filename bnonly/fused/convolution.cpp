// 3x3 convolutions, stride 1, padding 1, computed in float32: Winograd's F(4x4, 3x3) and F(2x2, 3x3).
//
// M x M results of a pair of channels take (M + 2)^2 products where the plain sum takes 9 M^2: 36 for 144, or 16 for
// 36 (Lavin and Gray, arXiv 1509.09308). Pictures, weights and sums are transformed down the columns, then along the
// rows; the weights come transformed, since frozen ones stay. F(4x4) interpolates at 0, 1, -1, 1/2, -2 and infinity,
// which rounds better than 0, 1, -1, 2, -2 (Barabasz and others, arXiv 1803.10986).
//
// Tensors lie channels last. A block of tiles goes through all stages before the next begins, so what lies between
// picture and result stays in a core's own caches, at distances known beforehand. Its memory, in eights of channels:
//   lines   [max(C, K) / 8][row of L][column][8]   pictures transformed down; later sums transformed along
//   inputs  [C / 8][L][tile][8]                    one of those rows, transformed along
//   sums    [L][tile][8 or 16]                     its products, for as many channels of the result

#include <algorithm>
#include <limits>
#include <vector>

#include "vectors.h"

namespace {

using V = Values<float>;

template <typename Stored> inline V get(const Stored *from) { return load<false>(from, 8); }
template <typename Stored> inline void put(Stored *to, const V &values) { store<false>(to, 8, values); }
inline V all(float value) { return V{value, value, value, value, value, value, value, value}; }

constexpr Size TILES = 24;  // of a block
constexpr Size ROWS = 6;    // of a product: 6 x 16 sums take twelve of AVX2's sixteen registers
constexpr Size LINE = 64;   // bytes that caches move at once

template <int M> struct Transform;

template <> struct Transform<4> {
    static void input(const V *d, V *t) {
        const V s1 = d[3] - d[1], s2 = d[4] - d[2];
        const V q0 = 1.5f * d[1] + (d[2] - d[0]), q1 = 1.5f * d[2] + s1;
        const V q2 = 1.5f * d[3] + s2, q3 = 1.5f * d[4] + (d[5] - d[3]);
        t[0] = q2 - q0, t[1] = q2 + q1, t[2] = q2 - q1;
        t[3] = s2 + 2.0f * s1, t[4] = s2 - 0.5f * s1, t[5] = q3 - q1;
    }
    static void output(const V *m, V *y) {
        const V sum = m[1] + m[2], difference = m[1] - m[2];
        y[0] = (m[0] + sum) + (m[3] + m[4]);
        y[1] = difference + 0.5f * m[3] - 2.0f * m[4];
        y[2] = sum + 0.25f * m[3] + 4.0f * m[4];
        y[3] = (difference + m[5]) + 0.125f * m[3] - 8.0f * m[4];
    }
};

template <> struct Transform<2> {
    static void input(const V *d, V *t) {
        t[0] = d[2] - d[0], t[1] = d[1] + d[2], t[2] = d[2] - d[1], t[3] = d[3] - d[1];
    }
    static void output(const V *m, V *y) {
        y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] + m[3];
    }
};

template <typename Stored> struct Task {
    const Stored *input;  // [n, h, w, c]
    const float *weight;  // [L][k in 16s, then 8][L][c][16 or 8]
    Stored *output;       // [n, h, w, k]
    Size n, h, w, c, k;
    const float *scale, *shift;  // [c] each, or null: what is convolved is max(floor, scale input + shift)
    float floor;
    Size down, across;  // tiles of a picture

    Size tiles() const { return n * down * across; }
};

template <int M> struct Place {
    Size row, column, pixel;  // of a tile's first result, in its picture; and in all of them

    template <typename Task> Place(const Task &task, Size tile) {
        const Size line = tile / task.across;
        row = line % task.down * M, column = tile % task.across * M;
        pixel = (line / task.down * task.h + row) * task.w + column;
    }
};

template <int M, typename Stored> struct Block {
    static constexpr Size L = M + 2, COLUMNS = TILES * L, PLANE = COLUMNS * 8, INPUTS = TILES * 8;

    static Size floats(const Task<Stored> &task) { return (std::max(task.c, task.k) * COLUMNS + (task.c + 16) * TILES) * L; }

    const Task<Stored> &task;
    const Size first, count;
    float *const lines, *const inputs, *const sums;
    Size start[TILES];  // each tile's first column of `lines`

    Block(const Task<Stored> &given, Size index, float *memory)
        : task(given), first(index * TILES), count(std::min(TILES, given.tiles() - first)), lines(memory),
          inputs(lines + std::max(given.c, given.k) * COLUMNS * L), sums(inputs + given.c * TILES * L) {}

    void run(double *partial) {
        if (task.scale)
            pictures_down<true>();
        else
            pictures_down<false>();
        const char *ahead = next_input();
        for (Size row = 0; row < L; ++row) {
            pictures_along(row);
            Size channel = 0;
            for (; channel + 16 <= task.k; channel += 16) products<2>(row, channel, ahead);
            if (channel < task.k) products<1>(row, channel, ahead);
        }
        Size channel = 0;
        for (; channel + 16 <= task.k; channel += 16) results<2>(channel, partial);
        if (channel < task.k) results<1>(channel, partial);
    }

    // Tiles side by side share columns.
    template <bool Scaled> void pictures_down() {
        Size at = 0;
        for (Size tile = 0; tile < count;) {
            const Place<M> place(task, first + tile);
            const Size together = std::min(count - tile, task.across - place.column / M);
            const Size top = place.row - 1, left = place.column - 1, right = left + together * M + 2;
            const Stored *from = task.input + (place.pixel - task.w - 1) * task.c;
            for (Size i = 0; i < together; ++i) start[tile + i] = at + i * M;
            for (Size column = left; column < right; ++column, ++at, from += task.c) {
                if (column < 0 || column >= task.w)
                    for (Size plane = 0; plane < task.c / 8 * L; ++plane) put(lines + at * 8 + plane * PLANE, V{});
                else if (top >= 0 && top + L <= task.h)
                    column_down<Scaled, true>(from, top, lines + at * 8);
                else
                    column_down<Scaled, false>(from, top, lines + at * 8);
            }
            tile += together;
        }
    }

    template <bool Scaled, bool Whole> void column_down(const Stored *from, Size top, float *to) const {
        const Size stride = task.w * task.c;
        const V floor = all(task.floor);
        for (Size channel = 0; channel < task.c; channel += 8, from += 8, to += PLANE * L) {
            V d[L], t[L];
#pragma GCC unroll 6
            for (Size i = 0; i < L; ++i) {
                d[i] = V{};
                if (!Whole && (top + i < 0 || top + i >= task.h)) continue;
                d[i] = get(from + i * stride);
                if (!Scaled) continue;
                d[i] = d[i] * get(task.scale + channel) + get(task.shift + channel);
                d[i] = floor > d[i] ? floor : d[i];  // what is no number stays none
            }
            Transform<M>::input(d, t);
#pragma GCC unroll 6
            for (Size i = 0; i < L; ++i) put(to + i * PLANE, t[i]);
        }
    }

    void pictures_along(Size row) {
        for (Size eight = 0; eight < task.c / 8; ++eight) {
            const float *line = lines + (eight * L + row) * PLANE;
            float *to = inputs + eight * L * INPUTS;
            for (Size tile = 0; tile < count; ++tile, to += 8) {
                const float *from = line + start[tile] * 8;
                V d[L], t[L];
#pragma GCC unroll 6
                for (Size j = 0; j < L; ++j) d[j] = get(from + j * 8);
                Transform<M>::input(d, t);
#pragma GCC unroll 6
                for (Size j = 0; j < L; ++j) put(to + j * INPUTS, t[j]);
            }
        }
    }

    // Of one row, for 8 Parts channels of the result from `channel` on.
    template <int Parts> void products(Size row, Size channel, const char *&ahead) {
        const float *weight = task.weight + (row * task.k + channel) * L * task.c;
        const Size step = lines_ahead();
        for (Size j = 0; j < L; ++j, weight += task.c * 8 * Parts) {
            for (Size i = 0; i < step; ++i, ahead += LINE) __builtin_prefetch(ahead, 0, 2);
            multiply<Parts>(inputs + j * INPUTS, weight, sums + j * INPUTS * Parts);
        }
        for (int part = 0; part < Parts; ++part) {  // over a row of `lines` that nobody needs any more
            float *to = lines + ((channel / 8 + part) * L + row) * PLANE;
            for (Size tile = 0; tile < count; ++tile, to += M * 8) {
                V m[L], t[M];
#pragma GCC unroll 6
                for (Size j = 0; j < L; ++j) m[j] = get(sums + ((j * TILES + tile) * Parts + part) * 8);
                Transform<M>::output(m, t);
#pragma GCC unroll 4
                for (Size j = 0; j < M; ++j) put(to + j * 8, t[j]);
            }
        }
    }

    template <int Parts> void multiply(const float *left, const float *right, float *to) const {
        for (Size tile = 0; tile < count; tile += ROWS, left += ROWS * 8, to += ROWS * 8 * Parts) {
            V sum[ROWS][Parts];
#pragma GCC unroll 6
            for (Size i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
                for (int part = 0; part < Parts; ++part) sum[i][part] = V{};
            const float *a = left, *b = right;
            for (Size c = task.c; c > 0; c -= 8, a += L * INPUTS, b += 64 * Parts) {
#pragma GCC unroll 8
                for (Size k = 0; k < 8; ++k) {
                    V factor[Parts];
#pragma GCC unroll 2
                    for (int part = 0; part < Parts; ++part) factor[part] = get(b + (k * Parts + part) * 8);
#pragma GCC unroll 6
                    for (Size i = 0; i < ROWS; ++i) {
                        const V value = all(a[i * 8 + k]);
#pragma GCC unroll 2
                        for (int part = 0; part < Parts; ++part) sum[i][part] += value * factor[part];
                    }
                }
            }
#pragma GCC unroll 6
            for (Size i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
                for (int part = 0; part < Parts; ++part) put(to + (i * Parts + part) * 8, sum[i][part]);
        }
    }

    template <int Parts> void results(Size channel, double *partial) {
        if (partial)
            sums_down<Parts, true>(channel, partial + channel);
        else
            sums_down<Parts, false>(channel, nullptr);
    }

    template <int Parts, bool Summed> void sums_down(Size channel, double *partial) {
        V total[Parts], squares[Parts];
        for (int part = 0; part < Parts; ++part) total[part] = squares[part] = V{};
        const float *from = lines + channel / 8 * L * PLANE;
        for (Size tile = 0; tile < count; ++tile, from += M * 8) {
            const Place<M> place(task, first + tile);
            const Size rows = std::min<Size>(M, task.h - place.row);
            const Size columns = std::min<Size>(M, task.w - place.column);
            Stored *to = task.output + place.pixel * task.k + channel;
            for (Size j = 0; j < columns; ++j, to += task.k)
#pragma GCC unroll 2
                for (int part = 0; part < Parts; ++part) {
                    V m[L], y[M];
#pragma GCC unroll 6
                    for (Size i = 0; i < L; ++i) m[i] = get(from + (part * L + i) * PLANE + j * 8);
                    Transform<M>::output(m, y);
#pragma GCC unroll 4
                    for (Size i = 0; i < M; ++i) {
                        if (i >= rows) continue;
                        Stored *place = to + i * task.w * task.k + part * 8;
                        put(place, y[i]);
                        if (!Summed) continue;
                        const V kept = std::is_same<Stored, float>::value ? y[i] : get(place);
                        total[part] += kept, squares[part] += kept * kept;
                    }
                }
        }
        if (!Summed) return;
        for (Size lane = 0; lane < 8 * Parts; ++lane) {
            partial[lane] = double(total[lane / 8][lane % 8]);
            partial[task.k + lane] = double(squares[lane / 8][lane % 8]);
        }
    }

    // The next block's input is fetched while this one multiplies; about where it lies, which is enough.
    const char *next_input() const {
        const Place<M> next(task, std::min(first + TILES, task.tiles() - 1));
        const Stored *at = task.input + (next.pixel + (next.row + 1 < task.h ? task.w : 0)) * task.c;
        return reinterpret_cast<const char *>(at);
    }
    Size lines_ahead() const {
        const Size turns = L * L * ((task.k + 15) / 16), fetched = TILES * M * M * task.c * Size(sizeof(Stored)) / LINE;
        return (fetched + turns - 1) / turns;
    }
};

// A thread's own, kept for its next call.
float *memory(Size floats) {
    thread_local std::vector<float> kept;
    const Size needed = floats + LINE / Size(sizeof(float));
    if (Size(kept.size()) < needed) kept.resize(std::size_t(needed));
    const auto past = reinterpret_cast<std::uintptr_t>(kept.data()) % LINE;
    return kept.data() + (past ? (LINE - past) / sizeof(float) : 0);
}

template <int M, typename Stored> void convolve(Task<Stored> task, double *sums, int threads) {
    task.down = (task.h + M - 1) / M, task.across = (task.w + M - 1) / M;
    const Size blocks = (task.tiles() + TILES - 1) / TILES, step = std::clamp<Size>(blocks / (8 * threads), 1, 8);
    std::vector<double> partial(sums ? 2 * blocks * task.k : 0);
#pragma omp parallel for schedule(dynamic, step) num_threads(threads)
    for (Size index = 0; index < blocks; ++index)
        Block<M, Stored>(task, index, memory(Block<M, Stored>::floats(task)))
            .run(sums ? &partial[2 * index * task.k] : nullptr);
    if (!sums) return;
    std::fill_n(sums, 2 * task.k, 0.0);
    for (Size index = 0; index < blocks; ++index)  // in this order, whichever thread was first
        for (Size i = 0; i < 2 * task.k; ++i) sums[i] += partial[2 * index * task.k + i];
}

}  // namespace

#define CONVOLUTION(NAME, STORED)                                                                                      \
    extern "C" void convolution_##NAME(const void *input, const void *weight, void *output, Size n, Size h, Size w,    \
                                       Size c, Size k, const void *scale, const void *shift, int relu, void *sums,     \
                                       int tile, int threads) {                                                        \
        const Task<STORED> task{static_cast<const STORED *>(input),                                                    \
                                static_cast<const float *>(weight),                                                    \
                                static_cast<STORED *>(output),                                                         \
                                n, h, w, c, k,                                                                         \
                                static_cast<const float *>(scale),                                                     \
                                static_cast<const float *>(shift),                                                     \
                                relu ? 0.0f : -std::numeric_limits<float>::infinity(), 0, 0};                          \
        (tile == 4 ? convolve<4, STORED> : convolve<2, STORED>)(task, static_cast<double *>(sums), threads);           \
    }

CONVOLUTION(float32, float)
CONVOLUTION(bfloat16, BFloat16)
