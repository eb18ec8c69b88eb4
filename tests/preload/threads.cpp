// Threads that pass blocks on, come and go, and free while they end; static and thread-local destructors.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <pthread.h>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {
struct Random {
    unsigned long state;
    unsigned long below(unsigned long end) {
        state = state * 6364136223846793005UL + 1442695040888963407UL;
        return (state >> 33) % end;
    }
};

struct Block {
    unsigned char *bytes;
    size_t len;
    unsigned char tag;
};

void fail(const char *what) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

Block make(Random &random) {
    size_t len = random.below(40) == 0 ? random.below(400000) : random.below(2000);
    Block block{static_cast<unsigned char *>(std::malloc(len)), len, static_cast<unsigned char>(random.below(256))};
    std::memset(block.bytes, block.tag, len);
    return block;
}

void destroy(const Block &block) {
    for (size_t at = 0; at < block.len; at++)
        if (block.bytes[at] != block.tag) fail("a block changed");
    std::free(block.bytes);
}

class Queue {
    std::mutex mutex;
    std::deque<Block> blocks;

  public:
    void push(const Block &block) {
        std::lock_guard<std::mutex> guard(mutex);
        blocks.push_back(block);
    }
    bool pop(Block &block) {
        std::lock_guard<std::mutex> guard(mutex);
        if (blocks.empty()) return false;
        block = blocks.front();
        blocks.pop_front();
        return true;
    }
};

// Destroyed when everything else is gone.
std::map<int, std::string> at_exit;
std::unique_ptr<std::vector<std::string>> more_at_exit;

struct Memory {
    std::vector<std::string> strings;
    ~Memory() {
        strings.resize(strings.size() * 2, "one that is made while the thread ends");
        if (strings.back().size() != 38) fail("a string is wrong");
    }
};
thread_local Memory memory;

// Runs after the allocator's own hook, in each of the C library's rounds.
pthread_key_t key;
void last_words(void *value) {
    auto *rounds = static_cast<long *>(value);
    std::string text(100 + *rounds, 'x');
    auto *next = static_cast<long *>(std::calloc(3000, sizeof(long)));
    next[0] = *rounds + 1;
    if (next[2999] != 0 || text.find_first_not_of('x') != text.npos) fail("what was made in a destructor is wrong");
    std::free(value);
    if (next[0] < 6)
        pthread_setspecific(key, next); // The last one is never seen again.
    else
        std::free(next);
}

void churn(unsigned long seed, Queue &mine, Queue &theirs) {
    Random random{seed};
    for (int round = 0; round < 6000; round++) {
        Block block;
        theirs.push(make(random));
        if (mine.pop(block)) destroy(block);
    }
}
} // namespace

int main() {
    enum { THREADS = 4 };
    Queue queues[THREADS];
    std::vector<std::thread> threads;
    for (int at = 0; at < THREADS; at++)
        threads.emplace_back([at, &queues] { churn(100 + at, queues[at], queues[(at + 1) % THREADS]); });
    for (auto &thread : threads) thread.join();
    for (auto &queue : queues)
        for (Block block; queue.pop(block);) destroy(block);

    pthread_key_create(&key, last_words);
    for (int round = 0; round < 400; round++) {
        threads.clear();
        for (int at = 0; at < THREADS; at++)
            threads.emplace_back([at, round] {
                memory.strings.emplace_back(100 + at, 'y');
                auto *rounds = static_cast<long *>(std::malloc(sizeof(long)));
                *rounds = round % 6;
                pthread_setspecific(key, rounds);
                std::unordered_map<int, std::string> map;
                for (int i = 0; i < 50; i++) map[i] = std::string(i, 'z');
            });
        for (auto &thread : threads) thread.join();
    }

    // The operators of C++, and sizes and alignments that are not those that were asked for.
    for (size_t size = 1; size < 100000; size += size / 2 + 1) {
        ::operator delete(::operator new(size), size * 3);
        ::operator delete[](::operator new[](size));
        void *aligned = ::operator new(size, std::align_val_t(256));
        if (reinterpret_cast<size_t>(aligned) % 256 != 0) fail("not aligned");
        ::operator delete(aligned, size / 2, std::align_val_t(64));
        ::operator delete(::operator new(size, std::nothrow));
    }
    volatile size_t huge = ~size_t{0} / 2;
    if (::operator new(huge, std::nothrow) != nullptr) fail("that much memory there is not");
    try {
        ::operator delete(::operator new(huge));
        fail("no exception");
    } catch (const std::bad_alloc &) {
    }

    for (int i = 0; i < 1000; i++) at_exit[i] = std::string(i, 'a');
    more_at_exit = std::make_unique<std::vector<std::string>>(1000, std::string(50, 'b'));
    // Goes on while the process exits.
    std::thread([] {
        for (;;) std::string(1000, 'c').append(1000, 'd');
    }).detach();
    std::puts("all blocks were whole");
    return 0;
}
