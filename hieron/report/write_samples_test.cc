// Writes every sample in every form where HIERON_REPORT_SAMPLES says, for the checks by other tools
// that tests/CMakeLists.txt runs afterwards (a JSON Schema validator, an HTML and an XML parser).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "hieron/report/html.h"
#include "hieron/report/json.h"
#include "hieron/report/samples_test.h"
#include "hieron/report/terminal.h"

namespace hieron {
namespace {

TEST(ReportSamples, AreWrittenForOtherToolsToCheck) {
  const char* folder = std::getenv("HIERON_REPORT_SAMPLES");
  if (!folder) GTEST_SKIP() << "HIERON_REPORT_SAMPLES names no folder";
  std::filesystem::create_directories(folder);
  auto written = samples::all();
  written.emplace_back("large-60x16", samples::large(60, 16));
  written.emplace_back("large-700", samples::large(700, 1));
  for (const auto& [name, result] : written) {
    const std::string stem = std::string(folder) + "/" + name;
    std::ofstream(stem + ".json") << audit_json(result);
    std::ofstream(stem + ".html") << audit_html(result);
    std::ofstream(stem + ".txt") << audit_text(result, {});
    ASSERT_TRUE(std::filesystem::file_size(stem + ".html") > 0) << stem;
  }
}

}  // namespace
}  // namespace hieron
