#include "hieron/report/html.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <regex>

#include "hieron/core/text.h"
#include "hieron/report/layer_map.h"
#include "hieron/report/markup.h"
#include "hieron/report/samples_test.h"
#include "hieron/report/spike.h"

namespace hieron {
namespace {

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Escape, LeavesNothingThatMarkupReads) {
  EXPECT_EQ(escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
  EXPECT_EQ(escape("a\nb\x01"), "a\\x0ab\\x01");
  EXPECT_EQ(escape_lines("a<\nb\n"), "a&lt;\nb\n");
}

TEST(Escape, IsSafeForAnyBytes) {
  rc::check([](const std::string& bytes) {
    const std::string text = escape(bytes);
    RC_ASSERT(text.find_first_of("<>\"'") == std::string::npos);
    RC_ASSERT(valid_utf8(text));
    RC_ASSERT(!has_control_or_bidi(text));
  });
}

// Attributes are found by a parser in tests/check_html.py; here by what no escaped text can
// contain.
TEST(Html, RunsAndFetchesNothing) {
  for (const auto& [name_, result] : samples::all()) {
    const std::string page = audit_html(result);
    for (const char* tag :
         {"<script", "<img", "<link", "<iframe", "<object", "<a ", "<image", "@import", "url("}) {
      EXPECT_EQ(count(page, tag), 0u) << tag << " in " << name_;
    }
    EXPECT_EQ(count(page, "default-src 'none'; style-src 'unsafe-inline'; img-src data:"), 1u)
        << name_;
    EXPECT_EQ(count(page, "http"), count(page, "xmlns=\"http://www.w3.org/2000/svg\"") + 1)
        << name_ << ": xmlns and http-equiv are all that may say http";
  }
}

TEST(Html, ShowsHostileNamesAsText) {
  const std::string page = audit_html(samples::hostile());
  EXPECT_TRUE(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_TRUE(page.contains("\\u{202e}"));
  EXPECT_TRUE(valid_utf8(page));
}

TEST(Html, HasEverySectionThatTheResultHas) {
  const std::string page = audit_html(samples::exact_merge());
  for (const char* heading :
       {"What would prove it wrong", "Why this verdict", "Recipe found", "Depth against alpha",
        "Layers and roles", "Figures and controls", "What was checked", "What was not", "Tells",
        "Tensors", "Thresholds", "How to repeat it", "Files"}) {
    EXPECT_EQ(count(page, std::string("<h2>") + heading + "</h2>"), 1u) << heading;
  }
  EXPECT_EQ(count(audit_html(samples::undetermined()), "<h2>Recipe found"), 0u);
}

TEST(Html, SaysHowManyTensorsAreInTheJsonOnly) {
  const AuditResult result = samples::large(100, 16);  // 100 × (6 + 48) tensors
  EXPECT_TRUE(audit_html(result).contains(
      "The first 2,000 are shown; 3,400 more are in the JSON report only."));
}

TEST(Html, PrintsEveryThreshold) {
  const std::string page = audit_html(samples::undetermined());
  for (const Threshold& threshold : thresholds()) {
    EXPECT_TRUE(page.contains(escape(threshold.reason))) << threshold.id;
  }
}

TEST(LayerMap, HasACellForEveryRoleAndLayer) {
  const std::string map = layer_map_svg(samples::large(60, 16).tensors);
  EXPECT_EQ(count(map, "<g>"), 60u * 9);
  EXPECT_TRUE(map.contains("expert.up, layer 59: 16 equal"));
}

TEST(LayerMap, GroupsNeighboursWhenThereAreTooManyLayers) {
  const std::string map = layer_map_svg(samples::large(700, 1).tensors);
  EXPECT_TRUE(map.contains("layer 0–2: 3 equal"));
  EXPECT_LE(count(map, "<g>"), 256u * 9);
}

TEST(LayerMap, TakesALayerNumberForAName) {
  std::vector<TensorFigures> tensors(2);
  tensors[0].role = {Role::kOther, 2'000'000'000, std::nullopt};
  tensors[1].role = {Role::kOther, -5, std::nullopt};
  EXPECT_EQ(count(layer_map_svg(tensors), "<g>"), 2u);
}

TEST(LayerMap, ShowsTheWorstOfACell) {
  std::vector<TensorFigures> tensors(3);
  for (TensorFigures& tensor : tensors) tensor.state = "equal";
  tensors[1].state = "changed";
  const std::string map = layer_map_svg(tensors);
  EXPECT_TRUE(map.contains("class=\"s-changed\""));
  EXPECT_FALSE(map.contains("class=\"s-equal\""));
  EXPECT_TRUE(map.contains("1 changed, 2 equal"));
}

TEST(Spike, StaysInsideItsPanelWhereverThePeakIs) {
  for (const double peak : {-4.0, -0.3, 0.0, 0.5, 1.0, 1.667, 5.0}) {
    AuditResult result = samples::exact_merge();
    result.depth->alpha = peak;
    for (const DepthScale scale : {DepthScale::kLinear, DepthScale::kLogarithmic}) {
      const std::string svg = spike_svg(*result.depth, scale, "t");
      const std::regex number("(?:[ML]|cx=\"| x=\")(-?[0-9.]+)");
      for (std::sregex_iterator it(svg.begin(), svg.end(), number), end; it != end; ++it) {
        const double x = std::stod((*it)[1]);
        EXPECT_TRUE(x >= 0 && x <= 460) << x << " at peak " << peak;
      }
    }
  }
}

TEST(Spike, DescribesItselfToAScreenReader) {
  const std::string svg = spike_svg(*samples::exact_merge().depth, DepthScale::kLinear, "lin");
  EXPECT_TRUE(svg.contains("aria-labelledby=\"lin-t lin-d\""));
  EXPECT_TRUE(svg.contains("The suspect peaks at alpha 0.600000 with depth 0.99999"));
}

}  // namespace
}  // namespace hieron
