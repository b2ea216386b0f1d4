// What only the link shows: signs of life, goodbyes, and a peer that talks nonsense.
#include "tcp_link.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace slora::comm::test {
namespace {

struct Pair {
  Socket a, b;
  Pair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    a = Socket(ends[0]);
    b = Socket(ends[1]);
  }
};

std::unique_ptr<TcpLink> rank_zero(std::vector<Socket*> others) {
  std::vector<Socket> sockets(1);
  for (Socket* socket : others) sockets.push_back(std::move(*socket));
  return std::make_unique<TcpLink>(std::move(sockets), 0, static_cast<int32_t>(others.size()) + 1,
                                   500);
}

std::unique_ptr<TcpLink> other_rank(Socket& socket, int32_t tp_rank, int32_t size) {
  std::vector<Socket> sockets;
  sockets.push_back(std::move(socket));
  return std::make_unique<TcpLink>(std::move(sockets), tp_rank, size, 500);
}

TEST(TcpLink, FindsWhoIsSilent) {
  Pair one, two;
  const auto host = rank_zero({&one.a, &two.a});
  const auto first = other_rank(one.b, 1, 3);
  EXPECT_EQ(host->find_silent_rank(), 2);  // nobody reads two.b
  const auto second = other_rank(two.b, 2, 3);
  EXPECT_EQ(host->find_silent_rank(), -1);
  EXPECT_EQ(second->find_silent_rank(), -1);
}

TEST(TcpLink, LeavingWaitsForTheOthersUpToALimit) {
  Pair pair;
  const auto host = rank_zero({&pair.a});
  const auto guest = other_rank(pair.b, 1, 2);
  EXPECT_FALSE(host->leave(50));
  EXPECT_TRUE(guest->leave(2000));
  EXPECT_TRUE(host->leave(2000));
  EXPECT_FALSE(host->breakage()->is_set());
}

TEST(TcpLink, SlowIsNotLostWhereSignsOfLifeCount) {
  Pair pair;
  const auto host = rank_zero({&pair.a});
  const auto guest = other_rank(pair.b, 1, 2);
  std::thread slow([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1800));  // the limit is 500
    guest->all_gather_messages({}, Patience::kWhileAlive);
  });
  EXPECT_EQ(host->all_gather_messages({}, Patience::kWhileAlive).size(), 2u);
  slow.join();
}

TEST(TcpLink, WithoutSignsOfLifeItIs) {
  Pair pair;
  const auto host = rank_zero({&pair.a});
  try {
    host->all_gather_messages({}, Patience::kWhileAlive);
    FAIL();
  } catch (const core::Error& failure) {
    EXPECT_STREQ(
        failure.what(),
        "rank 1 of 2 gave no sign of life before all_gather_messages within the time limit "
        "of 500 ms");
  }
}

TEST(TcpLink, NonsenseBreaksTheGroup) {
  Pair pair;
  const auto host = rank_zero({&pair.a});
  const std::string nonsense = "GET / HTTP/1.1\r\n\r\n";
  ASSERT_EQ(write(pair.b.fd(), nonsense.data(), nonsense.size()),
            static_cast<ssize_t>(nonsense.size()));
  try {
    host->barrier();
    FAIL();
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kRankLost);
    EXPECT_STREQ(failure.what(), "rank 1 of 2 is lost: its messages make no sense");
  }
}

TEST(TcpLink, BreakageTravelsThroughTheMiddle) {
  Pair one, two;
  const auto host = rank_zero({&one.a, &two.a});
  const auto first = other_rank(one.b, 1, 3);
  const auto second = other_rank(two.b, 2, 3);
  first->abort("enough");
  std::vector<uint8_t> message;
  try {
    second->await_message(message, 0);
    FAIL();
  } catch (const core::Error& failure) {
    EXPECT_STREQ(failure.what(), "rank 1 of 3 gave up: enough");
  }
}

TEST(Address, IsHostAndPort) {
  EXPECT_EQ(parse_address("10.0.0.1:7000").host, "10.0.0.1");
  EXPECT_EQ(parse_address("[::1]:7000").host, "::1");
  EXPECT_EQ(parse_address("[::1]:65535").port, 65535);
  for (const char* bad :
       {"", "host", ":7000", "host:", "host:0", "host:65536", "host:7x", "[]:1"}) {
    try {
      parse_address(bad);
      FAIL() << bad;
    } catch (const core::Error& failure) {
      EXPECT_EQ(failure.status(), core::Status::kInvalidArgument);
      EXPECT_NE(std::string(failure.what()).find(std::string("'") + bad + "'"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace slora::comm::test
