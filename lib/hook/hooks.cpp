// SPDX-License-Identifier: Apache-2.0
#include "hook/hooks.h"

#include <array>
#include <utility>

namespace suture::hook {
namespace {

constexpr std::array<std::pair<std::string_view, Site>, 7> kSites = {{{"embed", Site::kEmbed},
                                                                      {"head_out", Site::kHeadOut},
                                                                      {"attn_out", Site::kAttnOut},
                                                                      {"mlp_key", Site::kMlpKey},
                                                                      {"mlp_out", Site::kMlpOut},
                                                                      {"resid_out", Site::kResidOut},
                                                                      {"final_norm", Site::kFinalNorm}}};

}  // namespace

std::string_view name(Site site) { return kSites[size_t(site)].first; }

std::optional<Site> site_from(std::string_view text) {
  for (const auto& [spelling, site] : kSites)
    if (spelling == text) return site;
  return std::nullopt;
}

std::string site_names() {
  std::string all;
  for (const auto& [spelling, site] : kSites) all += (all.empty() ? "" : ", ") + std::string(spelling);
  return all;
}

}  // namespace suture::hook
