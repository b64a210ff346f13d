#!/usr/bin/env python3
"""check_html.py PAGE...: is each page self-contained, well-formed and free of anything that runs or fetches?"""
import html.parser
import re
import sys
import xml.etree.ElementTree as ElementTree

VOID = {"meta", "br", "img", "link", "input", "hr"}
FORBIDDEN_TAGS = {"script", "iframe", "object", "embed", "link", "img", "image", "base", "form", "foreignobject", "use"}
NAMESPACE = "http://www.w3.org/2000/svg"


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.policy, self.ids = [], [], None, set()
        self.in_style = ""

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in FORBIDDEN_TAGS:
            self.problems.append(f"<{tag}> at {self.getpos()}")
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "href", "xlink:href", "srcset", "action", "style"):
                self.problems.append(f"attribute {name} at {self.getpos()}")
            if name != "xmlns" and re.search(r"https?://", value or "") and tag != "title":
                self.problems.append(f"address in {name} at {self.getpos()}")
        if "id" in attributes:
            if attributes["id"] in self.ids:
                self.problems.append(f"id {attributes['id']} twice")
            self.ids.add(attributes["id"])
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.in_style += data


def check(path):
    with open(path, encoding="utf-8", errors="strict", newline="") as file:
        text = file.read()
    page = Page()
    page.feed(text)
    page.close()
    problems = page.problems
    if page.open:
        problems.append(f"never closed: {page.open}")
    if not page.policy or "default-src 'none'" not in page.policy:
        problems.append("no Content-Security-Policy that forbids everything")
    if re.search(r"url\(|@import|expression\(", page.in_style):
        problems.append("the style sheet fetches")
    if re.search(r"<script", text, re.I):
        problems.append("<script in the text")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", text):
        problems.append("control or bidi character in the text")
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        if "xmlns" not in svg:
            svg = svg.replace("<svg", f'<svg xmlns="{NAMESPACE}"', 1)
        try:
            drawing = ElementTree.fromstring(svg)
        except ElementTree.ParseError as error:
            problems.append(f"SVG is not XML: {error}")
            continue
        for element in drawing.iter():
            for name, value in element.attrib.items():
                if re.search(r"\b(nan|inf)\b", value, re.I) and name not in ("class",):
                    problems.append(f"SVG {element.tag.split('}')[1]} {name}={value}")
    for problem in problems[:20]:
        print(f"{path}: {problem}")
    return len(problems)


if __name__ == "__main__":
    bad = sum(check(path) for path in sys.argv[1:])
    print(f"{len(sys.argv) - 1} pages, {bad} problems")
    sys.exit(1 if bad or len(sys.argv) < 2 else 0)
