// Memory for activations: what is given back is there again for the next that asks, side by side.
//
// glibc asks for more than an aligned block needs, and what it cuts off may keep a freed block from ever fitting
// again (memalign, before glibc 2.38); and short-lived results of torch's between long-lived ones leave holes. Here
// addresses are reserved once, the first gap that fits is taken, and gaps grow together. The system lends pages when
// they are first written, large ones where it can.

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <new>

#include "vectors.h"

namespace {

constexpr Size PAGE = 1 << 21, GRAIN = 64;

class Arena {
  public:
    void *take(Size bytes) {
        bytes = (bytes + GRAIN - 1) / GRAIN * GRAIN;
        const std::lock_guard<std::mutex> guard(lock);
        if (!base && !reserve()) return nullptr;
        for (auto gap = gaps.begin(); gap != gaps.end(); ++gap) {
            if (gap->second < bytes) continue;
            const Size place = gap->first, left = gap->second - bytes;
            gaps.erase(gap);
            if (left) gaps.emplace(place + bytes, left);
            return found(place, bytes);
        }
        if (bytes > reserved - end) return nullptr;
        end += bytes;
        return found(end - bytes, bytes);
    }

    void give(void *address, Size bytes) {
        bytes = (bytes + GRAIN - 1) / GRAIN * GRAIN;
        const std::lock_guard<std::mutex> guard(lock);
        Size place = static_cast<char *>(address) - base;
        used -= bytes;
        auto after = gaps.lower_bound(place);
        if (after != gaps.end() && after->first == place + bytes) {
            bytes += after->second;
            after = gaps.erase(after);
        }
        if (after != gaps.begin()) {
            const auto before = std::prev(after);
            if (before->first + before->second == place) {
                place = before->first, bytes += before->second;
                gaps.erase(before);
            }
        }
        if (place + bytes == end)
            end = place;
        else
            gaps.emplace(place, bytes);
    }

    // What no one has goes back to the system.
    void trim() {
        const std::lock_guard<std::mutex> guard(lock);
        for (const auto &gap : gaps) discard(gap.first, gap.first + gap.second);
        discard(end, touched);
        touched = end;
    }

    Size in_use() {
        const std::lock_guard<std::mutex> guard(lock);
        return used;
    }

  private:
    std::mutex lock;
    std::map<Size, Size> gaps;  // place and bytes; no two touch, and none touches the end
    char *base = nullptr;
    Size reserved = 0, end = 0, touched = 0, used = 0;

    void *found(Size place, Size bytes) {
        used += bytes, touched = std::max(touched, place + bytes);
        return base + place;
    }

    bool reserve() {
        const Size bytes = 2 * Size(sysconf(_SC_PHYS_PAGES)) * Size(sysconf(_SC_PAGESIZE)) / PAGE * PAGE;
        void *got = mmap(nullptr, std::size_t(bytes + PAGE), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) return false;
        base = static_cast<char *>(got) + (PAGE - reinterpret_cast<std::uintptr_t>(got) % PAGE) % PAGE;
        reserved = bytes;
#ifdef MADV_HUGEPAGE
        madvise(base, std::size_t(bytes), MADV_HUGEPAGE);
#endif
        return true;
    }

    void discard(Size from, Size to) {
        from = (from + PAGE - 1) / PAGE * PAGE, to = to / PAGE * PAGE;
        if (from < to) madvise(base + from, std::size_t(to - from), MADV_DONTNEED);
    }
};

Arena &arena() {
    static Arena *one = new Arena;  // never destroyed: tensors may outlive what runs at exit
    return *one;
}

// DLPack's managed tensor, version 0 of its interface.
struct Managed {
    void *data;
    std::int32_t device_type, device_id, dimensions;
    std::uint8_t code, bits;
    std::uint16_t lanes;
    std::int64_t *shape, *strides;
    std::uint64_t offset;
    void *context;
    void (*deleter)(Managed *);
};

struct Lent {
    Managed managed;
    std::int64_t shape[4], strides[4];
    Size bytes;
};

}  // namespace

// [n, c, h, w], channels last, of a type by DLPack's code and bits; null where there is no room.
extern "C" void *arena_tensor(Size n, Size c, Size h, Size w, int code, int bits) {
    const Size bytes = n * c * h * w * (bits / 8);
    void *data = arena().take(bytes);
    if (!data) return nullptr;
    Lent *lent = new (std::nothrow) Lent{};
    if (!lent) {
        arena().give(data, bytes);
        return nullptr;
    }
    const std::int64_t shape[4] = {n, c, h, w}, strides[4] = {h * w * c, 1, w * c, c};
    std::copy(shape, shape + 4, lent->shape), std::copy(strides, strides + 4, lent->strides);
    lent->bytes = bytes;
    lent->managed = {data, 1, 0, 4, std::uint8_t(code), std::uint8_t(bits), 1, lent->shape, lent->strides, 0, lent,
                     [](Managed *managed) {
                         Lent *own = static_cast<Lent *>(managed->context);
                         arena().give(managed->data, own->bytes);
                         delete own;
                     }};
    return &lent->managed;
}

extern "C" Size arena_used() { return arena().in_use(); }
extern "C" void arena_trim() { arena().trim(); }
