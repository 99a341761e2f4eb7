// SPDX-License-Identifier: Apache-2.0
// What produced a result: version, command, settings, inputs and outputs with digests, seeds, times, machine. Every
// output folder has one as manifest.json.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"

namespace suture::report {

class Manifest {
 public:
  explicit Manifest(std::string command);  // "edit apply"; the tool's version and the start time are filled in

  // Values of arguments whose name speaks of a secret (token, key, password, secret) are replaced by "***".
  Manifest& arguments(const std::vector<std::string>& argv);
  Manifest& config(Json resolved);
  Manifest& seed(const std::string& name, uint64_t value);
  Manifest& input(const std::string& name, const std::filesystem::path& file);  // digests it
  Manifest& input(const std::string& name, const std::filesystem::path& path,
                  const std::string& sha256);  // digest known
  Manifest& output(const std::filesystem::path& file,
                   const std::filesystem::path& root);  // digests it; path relative to root
  Manifest& stage(const std::string& name, double seconds, Json details = Json::object());
  Manifest& machine(const std::string& key, Json value);  // LibTorch's version, device, threads used
  Manifest& note(const std::string& key, Json value);     // results or facts of the command, under "notes"

  Json json() const;
  void write(const std::filesystem::path& folder) const;  // folder/manifest.json, in one step

 private:
  Json json_;
};

// {cpu, cores, memory_bytes, system}; what cannot be read is left out.
Json machine_facts();

}  // namespace suture::report
