// Starts the program of a rank and reads what it says.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace slora::comm::test {

// One process of `program`; killed when this goes.
class RankProcess {
 public:
  RankProcess(const std::string& program, const std::map<std::string, std::string>& arguments) {
    std::vector<std::string> words{program};
    for (const auto& [name, value] : arguments) words.push_back(name + "=" + value);
    std::vector<char*> raw;
    for (std::string& word : words) raw.push_back(word.data());
    raw.push_back(nullptr);
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr, raw.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
  }
  RankProcess(const RankProcess&) = delete;
  ~RankProcess() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_);
  }

  pid_t pid() const { return pid_; }

  // All it prints until it ends or the time is up; then the last line, "still running" otherwise.
  std::string last_line(int limit_ms = 60'000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd entry{output_, POLLIN, 0};
      if (left.count() <= 0 || poll(&entry, 1, static_cast<int>(left.count())) <= 0)
        return "still running";
      char chunk[4096];
      const ssize_t got = read(output_, chunk, sizeof chunk);
      if (got <= 0) break;
      text_.append(chunk, static_cast<size_t>(got));
    }
    std::string line = text_.substr(0, text_.find_last_not_of('\n') + 1);
    const size_t newline = line.rfind('\n');
    return newline == std::string::npos ? line : line.substr(newline + 1);
  }
  const std::string& text() const { return text_; }

  // Waits until it has printed `word`.
  bool await(const std::string& word, int limit_ms = 60'000) {
    for (int waited = 0; waited < limit_ms && text_.find(word) == std::string::npos; waited += 10) {
      pollfd entry{output_, POLLIN, 0};
      char chunk[4096];
      if (poll(&entry, 1, 10) <= 0) continue;
      const ssize_t got = read(output_, chunk, sizeof chunk);
      if (got <= 0) break;
      text_.append(chunk, static_cast<size_t>(got));
    }
    return text_.find(word) != std::string::npos;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  std::string text_;
};

}  // namespace slora::comm::test
