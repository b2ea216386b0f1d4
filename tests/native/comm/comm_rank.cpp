// A rank as a process, for process_group_test: joins, runs operations, and prints one line: "ok" or
// the failure. The arguments are name=value.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <map>

#include "group_test.hpp"
#include "slora/comm/process_group.hpp"

namespace slora::comm::test {
namespace {

using Arguments = std::map<std::string, std::string>;

int32_t number(const Arguments& arguments, const char* name) {
  return std::stoi(arguments.at(name));
}

// Meets the others again and again, until something goes wrong.
void work_for_ever(Group& group, RankDevice& rank, const std::string& how) {
  std::vector<float> data(1000, 1.0f);
  std::vector<uint8_t> message(10);
  for (;;) {
    if (how == "sum") {
      group.all_reduce(rank.stream.handle(), data.data(), 1000, DType::kF32);
      rank.stream.synchronize();
    } else if (how == "gather") {
      group.all_gather_messages(message);
    } else if (how == "flood") {
      message.resize(1'000'000);
      group.broadcast_message(message, 0);
    } else if (group.tp_rank() == 0) {
      group.broadcast_message(message, 0);
      usleep(1000);
    } else {
      group.await_message(message, 0);
    }
  }
}

void run(const Arguments& arguments) {
  JoinOptions options;
  options.address = arguments.at("address");
  options.tp_rank = number(arguments, "rank");
  options.size = number(arguments, "size");
  options.secret = arguments.at("secret");
  options.fingerprint = arguments.at("fingerprint");
  options.join_limit_ms = number(arguments, "join_limit_ms");
  options.group.time_limit_ms = number(arguments, "time_limit_ms");
  if (arguments.count("version")) options.version = arguments.at("version");
  if (arguments.count("piece_bytes"))
    options.group.piece_bytes = std::stoul(arguments.at("piece_bytes"));
  const std::unique_ptr<Group> group = join_process_group(options);
  RankDevice rank;
  const auto num_operations = static_cast<uint32_t>(number(arguments, "operations"));
  run_random_program(*group, rank, 11, num_operations);
  std::printf("joined\n");
  std::fflush(stdout);
  if (arguments.count("signal")) raise(number(arguments, "signal"));
  if (arguments.count("abort")) return group->abort(arguments.at("abort"));
  if (arguments.count("then")) work_for_ever(*group, rank, arguments.at("then"));
}

}  // namespace
}  // namespace slora::comm::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  slora::comm::test::Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    arguments[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  try {
    slora::comm::test::run(arguments);
    const bool has_failed = testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed();
    std::printf("%s\n", has_failed ? "wrong results" : "ok");
  } catch (const slora::core::Error& failure) {
    std::printf("%d %s\n", static_cast<int>(failure.status()), failure.what());
  }
  return 0;
}
