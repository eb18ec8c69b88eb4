// A process whose threads allocate while it forks; children allocate, start threads, fork, and exit.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <pthread.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {
void work(int seed, int rounds) {
    std::list<std::string> strings;
    for (int round = 0; round < rounds; round++) {
        strings.emplace_back((round * 37 + seed) % 3000 + 1, static_cast<char>('a' + round % 26));
        if (round % 50 == 0) strings.emplace_back(300000, 'L');
        if (strings.size() > 40) strings.pop_front();
        for (const std::string &string : {strings.front(), strings.back()})
            if (string.front() != string.back()) std::abort();
    }
}

// Threads allocate also when the allocator's own hook has run in them.
pthread_key_t key;
void last_words(void *) { work(3, 400); }

void work_and_end(int seed, int rounds) {
    pthread_setspecific(key, &key);
    work(seed, rounds);
}

// Nobody waits for longer than this.
void wait_for(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) {
        std::fprintf(stderr, "a child ended with %x\n", status);
        std::abort();
    }
}

[[noreturn]] void be_child(int number) {
    alarm(60);
    work(number, 300);
    if (number % 3 == 0) {
        std::thread first(work_and_end, 1, 200), second(work_and_end, 2, 200);
        first.join();
        second.join();
    }
    if (number % 5 == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            work(number, 100);
            _exit(7);
        }
        wait_for(grandchild);
    }
    if (number % 2 == 0) _exit(7);
    std::exit(7);
}
std::string at_exit(1000, 's');
} // namespace

int main() {
    alarm(120);
    pthread_key_create(&key, last_words);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int at = 0; at < 3; at++)
        threads.emplace_back([&, at] {
            // Some threads come and go, too.
            while (!stop) std::thread(work_and_end, at, 100).join();
        });
    for (int at = 0; at < 2; at++)
        threads.emplace_back([&, at] {
            while (!stop) work(at, 1000);
        });
    for (int round = 0; round < 60; round++) {
        pid_t children[3];
        for (pid_t &child : children) {
            child = fork();
            if (child == -1) std::abort();
            if (child == 0) be_child(round);
        }
        for (pid_t child : children) wait_for(child);
    }
    stop = true;
    for (auto &thread : threads) thread.join();
    std::puts("all children were well");
    return 0;
}
