// Ranks as processes: the same program as for threads, and every way in which a rank can be lost or
// may not join. Each ends in time with the right line on every side.
#include <dirent.h>

#include <cstring>
#include <memory>
#include <thread>

#include "free_address.hpp"
#include "rank_process.hpp"

namespace slora::comm::test {
namespace {

using Clock = std::chrono::steady_clock;
using Arguments = std::map<std::string, std::string>;

// A rank that is not spoken of in a test's changes is one that joins and does its part.
std::vector<std::unique_ptr<RankProcess>> start(int32_t size, const Arguments& common,
                                                const std::map<int32_t, Arguments>& changes = {}) {
  const std::string address = free_address();
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int32_t rank = 0; rank < size; ++rank) {
    Arguments arguments = {{"address", address},           {"rank", std::to_string(rank)},
                           {"size", std::to_string(size)}, {"secret", "open sesame"},
                           {"fingerprint", "demo f32"},    {"join_limit_ms", "60000"},
                           {"time_limit_ms", "10000"},     {"operations", "20"}};
    for (const auto& [name, value] : common) arguments[name] = value;
    if (const auto change = changes.find(rank); change != changes.end()) {
      for (const auto& [name, value] : change->second) arguments[name] = value;
    }
    ranks.push_back(std::make_unique<RankProcess>(SLORA_COMM_RANK, arguments));
  }
  return ranks;
}

// Shared memory of one of these processes that still has a name.
bool has_left_memory(const std::vector<std::unique_ptr<RankProcess>>& ranks) {
  DIR* const folder = opendir("/dev/shm");
  if (!folder) return false;
  bool has_left = false;
  while (const dirent* entry = readdir(folder)) {
    for (const auto& rank : ranks) {
      const std::string prefix = "slora-" + std::to_string(rank->pid()) + "-";
      has_left = has_left || std::strncmp(entry->d_name, prefix.c_str(), prefix.size()) == 0;
    }
  }
  closedir(folder);
  return has_left;
}

class Processes : public ::testing::TestWithParam<int32_t> {};

TEST_P(Processes, RunRandomOperations) {
  for (const char* piece_bytes : {"320", "1048576"}) {
    auto ranks = start(GetParam(), {{"operations", "600"}, {"piece_bytes", piece_bytes}});
    for (const auto& rank : ranks) {
      EXPECT_EQ(rank->last_line(60'000), "ok");
    }
    EXPECT_FALSE(has_left_memory(ranks));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Processes, ::testing::Values(1, 2, 3, 4, 5));

class LostRank : public ::testing::TestWithParam<std::tuple<std::string, int32_t>> {};

TEST_P(LostRank, KilledIsNamedAtOnce) {
  const auto& [work, victim] = GetParam();
  const auto begin = Clock::now();
  auto ranks = start(3, {{"time_limit_ms", "60000"}, {"then", work}},
                     {{victim, {{"signal", std::to_string(SIGKILL)}}}});
  for (int32_t rank = 0; rank < 3; ++rank) {
    if (rank == victim) continue;
    const std::string line = ranks[static_cast<size_t>(rank)]->last_line();
    EXPECT_EQ(line.find("-303 rank " + std::to_string(victim) + " of 3 is lost: "), 0u) << line;
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(30));
  EXPECT_FALSE(has_left_memory(ranks));
}

INSTANTIATE_TEST_SUITE_P(WorkAndVictim, LostRank,
                         ::testing::Combine(::testing::Values("sum", "gather", "await"),
                                            ::testing::Values(0, 1, 2)));

class StoppedRank : public LostRank {};

TEST_P(StoppedRank, IsNamedWhenTimeIsUp) {
  const auto& [work, victim] = GetParam();
  const auto begin = Clock::now();
  auto ranks = start(3, {{"time_limit_ms", "700"}, {"then", work}},
                     {{victim, {{"signal", std::to_string(SIGSTOP)}}}});
  for (int32_t rank = 0; rank < 3; ++rank) {
    if (rank == victim) continue;
    const std::string line = ranks[static_cast<size_t>(rank)]->last_line();
    EXPECT_EQ(line.find("-303 rank " + std::to_string(victim) + " of 3 did not come to "), 0u)
        << line;
    EXPECT_NE(line.find(" within the time limit of 700 ms"), std::string::npos) << line;
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(30));
}

INSTANTIATE_TEST_SUITE_P(WorkAndVictim, StoppedRank,
                         ::testing::Combine(::testing::Values("sum", "gather"),
                                            ::testing::Values(0, 1, 2)));

TEST(Process, ThatHasNothingToSayMayBeSilentForAsLongAsItLives) {
  auto ranks = start(2, {{"time_limit_ms", "300"}, {"then", "await"}},
                     {{0, {{"signal", std::to_string(SIGSTOP)}}}});
  EXPECT_TRUE(ranks[0]->await("joined"));
  EXPECT_TRUE(ranks[1]->await("joined"));
  EXPECT_EQ(ranks[1]->last_line(1500), "still running");
  kill(ranks[0]->pid(), SIGKILL);
  const std::string line = ranks[1]->last_line();
  EXPECT_EQ(line.find("-303 rank 0 of 2 is lost: "), 0u) << line;
}

// Rank 0 only sends and the other does not read: the connection fills up.
TEST(Process, ThatTakesNoMessagesIsNamed) {
  auto ranks = start(2, {{"time_limit_ms", "500"}, {"then", "flood"}},
                     {{1, {{"signal", std::to_string(SIGSTOP)}}}});
  const std::string line = ranks[0]->last_line();
  EXPECT_EQ(line.find("-303 rank 1 of 2 did not take a message of 1000000 bytes within"), 0u)
      << line;
}

TEST(Process, ThatGivesUpIsQuotedEverywhere) {
  auto ranks = start(3, {{"then", "sum"}}, {{1, {{"abort", "no pages left"}}}});
  EXPECT_EQ(ranks[0]->last_line(), "-303 rank 1 of 3 gave up: no pages left");
  EXPECT_EQ(ranks[2]->last_line(), "-303 rank 1 of 3 gave up: no pages left");
}

TEST(Process, ThatLeavesIsNamedWhereItIsNeeded) {
  auto ranks = start(2, {}, {{0, {{"then", "gather"}}}});
  EXPECT_EQ(ranks[1]->last_line(), "ok");
  const std::string line = ranks[0]->last_line();
  EXPECT_EQ(line.find("-303 rank 1 of 2 "), 0u) << line;
}

TEST(Joining, WithAnotherSecretIsRefusedOnBothSides) {
  auto ranks = start(2, {}, {{1, {{"secret", "open barley"}}}});
  const std::string host = ranks[0]->last_line(), guest = ranks[1]->last_line();
  EXPECT_EQ(host.find("-101 the rank at 127.0.0.1:"), 0u) << host;
  EXPECT_NE(host.find(" has another secret than rank 0"), std::string::npos) << host;
  EXPECT_EQ(guest.find("-101 rank 0 at 127.0.0.1:"), 0u) << guest;
  EXPECT_NE(guest.find(" has another secret than rank 1"), std::string::npos) << guest;
  for (const std::string& line : {host, guest})
    EXPECT_EQ(line.find("open "), std::string::npos) << "a secret in a message: " << line;
}

// What differs, and how both sides put it.
struct Difference {
  std::string name, value, line;
};

class DifferingRank : public ::testing::TestWithParam<Difference> {};

TEST_P(DifferingRank, IsRefusedOnAllSidesNamingBothValues) {
  const auto& [name, value, line] = GetParam();
  auto ranks = start(3, {{"version", "0.1.0"}}, {{2, {{name, value}}}});
  EXPECT_EQ(ranks[0]->last_line(), "-101 " + line);
  for (const size_t guest : {1u, 2u}) {
    const std::string seen = ranks[guest]->last_line();
    EXPECT_EQ(seen.find("-101 rank 0 at 127.0.0.1:"), 0u) << seen;
    EXPECT_NE(seen.find(" refused: " + line), std::string::npos) << seen;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Values, DifferingRank,
    ::testing::Values(
        Difference{"version", "0.2.0", "rank 2 is slora 0.2.0, rank 0 is slora 0.1.0"},
        Difference{"size", "4", "rank 2 was started for 4 ranks, rank 0 for 3"},
        Difference{"rank", "1", "two processes called themselves rank 1"},
        Difference{"fingerprint", "demo bf16",
                   "rank 2 has model and options 'demo bf16', rank 0 has 'demo f32'"}));

TEST(Joining, TheSizeMayBeRankZerosToSay) {
  auto ranks = start(3, {}, {{1, {{"size", "0"}}}, {2, {{"size", "0"}}}});
  for (const auto& rank : ranks) EXPECT_EQ(rank->last_line(), "ok");
}

TEST(Joining, AMissingRankEndsInTimeNamingIt) {
  const auto begin = Clock::now();
  auto ranks = start(3, {{"size", "5"}, {"join_limit_ms", "800"}});
  const std::string host = ranks[0]->last_line();
  EXPECT_EQ(host.find("-201 rank 3, 4 of 5 did not join at 127.0.0.1:"), 0u) << host;
  EXPECT_NE(host.find(" within the time limit of 800 ms"), std::string::npos) << host;
  for (const size_t guest : {1u, 2u})
    EXPECT_NE(ranks[guest]->last_line().find("-"), std::string::npos);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(30));
}

TEST(Joining, NobodyListeningEndsInTime) {
  RankProcess alone(SLORA_COMM_RANK, {{"address", free_address()},
                                      {"rank", "1"},
                                      {"size", "2"},
                                      {"secret", "s"},
                                      {"fingerprint", ""},
                                      {"join_limit_ms", "500"},
                                      {"time_limit_ms", "500"},
                                      {"operations", "0"}});
  const std::string line = alone.last_line(5000);
  EXPECT_EQ(line.find("-201 cannot reach rank 0 at 127.0.0.1:"), 0u) << line;
}

int connect_to(const std::string& address) {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  target.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  for (int i = 0; i < 500; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0) return fd;
    close(fd);
    usleep(10'000);
  }
  return -1;
}

TEST(Joining, StrangersDoNotKeepTheRanksFromMeeting) {
  const std::string address = free_address();
  const Arguments common = {{"address", address},
                            {"size", "2"},
                            {"secret", "s"},
                            {"fingerprint", "f"},
                            {"join_limit_ms", "15000"},
                            {"time_limit_ms", "5000"},
                            {"operations", "50"}};
  Arguments host = common;
  host["rank"] = "0";
  RankProcess first(SLORA_COMM_RANK, host);
  const int web = connect_to(address);
  ASSERT_GE(web, 0);
  const std::string request(200, 'G');
  EXPECT_EQ(send(web, request.data(), request.size(), MSG_NOSIGNAL), 200);
  const int gone = connect_to(address);
  close(gone);
  const int silent = connect_to(address);
  Arguments guest = common;
  guest["rank"] = "1";
  RankProcess second(SLORA_COMM_RANK, guest);
  EXPECT_EQ(first.last_line(), "ok");
  EXPECT_EQ(second.last_line(), "ok");
  close(web);
  close(silent);
}

// Plays rank 0 by hand: what the other rank says, and what it makes of a welcome without the
// secret.
TEST(Joining, TheSecretIsNeverSentAndRankZeroMustKnowItToo) {
  const std::string address = free_address();
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  own.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  RankProcess guest(SLORA_COMM_RANK, {{"address", address},
                                      {"rank", "1"},
                                      {"size", "2"},
                                      {"secret", "correct horse battery"},
                                      {"fingerprint", "f"},
                                      {"join_limit_ms", "5000"},
                                      {"time_limit_ms", "500"},
                                      {"operations", "0"}});
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  std::vector<uint8_t> challenge(40, 0x5a);
  std::memcpy(challenge.data(), "SLRA\2\0\0\0", 8);
  ASSERT_EQ(send(fd, challenge.data(), challenge.size(), MSG_NOSIGNAL), 40);
  std::string said(4096, '\0');
  const ssize_t got = recv(fd, said.data(), said.size(), 0);
  ASSERT_GT(got, 76);
  said.resize(static_cast<size_t>(got));
  EXPECT_EQ(said.find("correct"), std::string::npos);
  EXPECT_EQ(said.find("battery"), std::string::npos);
  const std::vector<uint8_t> welcome(40, 0);  // code 0, no line, no signature
  ASSERT_EQ(send(fd, welcome.data(), welcome.size(), MSG_NOSIGNAL), 40);
  const std::string line = guest.last_line();
  EXPECT_NE(line.find("does not know the secret of rank 1"), std::string::npos) << line;
  close(fd);
  close(listener);
}

}  // namespace
}  // namespace slora::comm::test
