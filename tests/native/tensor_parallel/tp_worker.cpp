// A rank as a process, for workers_test: runs slora_worker_run and prints one line, "ok" or the
// failure. The arguments are name=value.
#include <cstdio>
#include <map>
#include <string>

#include "slora/slora.h"

int main(int argc, char** argv) {
  std::map<std::string, std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    arguments[word.substr(0, equals)] = word.substr(equals + 1);
  }
  slora_worker_options options = SLORA_WORKER_OPTIONS_INIT;
  const std::string& join = arguments["join"];
  const std::string& secret = arguments["secret"];
  const std::string& model_path = arguments["model"];
  options.join = join.data();
  options.join_bytes = join.size();
  options.secret = secret.data();
  options.secret_bytes = secret.size();
  if (!model_path.empty()) {
    options.model_path = model_path.data();
    options.model_path_bytes = model_path.size();
  }
  options.tp_rank = static_cast<uint32_t>(std::stoi(arguments["rank"]));
  if (arguments.count("device")) options.device_idx = std::stoi(arguments["device"]);
  options.num_threads = 1;
  options.join_ms = 20'000;
  options.limit_ms = static_cast<uint32_t>(std::stoi(arguments["limit_ms"]));
  slora_error error = SLORA_ERROR_INIT;
  const int32_t status = slora_worker_run(&options, &error);
  std::printf("%s\n", status == SLORA_OK ? "ok" : error.message);
  return status == SLORA_OK ? 0 : 1;
}
