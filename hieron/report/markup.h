// Text that came from a file or a user, made safe inside HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace hieron {

// Safe as element content and inside a quoted attribute. Control and bidi characters and bytes that
// are not UTF-8 become visible escapes first (core/text.h), so the result is well-formed in XML
// too. Nothing is cut.
std::string escape(std::string_view text);

// The same with line breaks kept, for <pre>.
std::string escape_lines(std::string_view text);

}  // namespace hieron
