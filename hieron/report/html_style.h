// The page's one style sheet: light, dark and print from one set of colours, no font and no image
// from elsewhere.
//
// Suspect and controls, and the states of the map, use blue against orange and vermilion (Okabe and
// Ito 2008), which stay apart for colour-blind readers; every state that accuses has a mark as
// well.
#pragma once

#include <string_view>

namespace hieron {

inline constexpr std::string_view kStyle = R"css(
:root{
  --paper:#fff;--ink:#15181c;--quiet:#59626d;--line:#d9dde3;--tint:#f4f6f8;
  --suspect:#075ea8;--suspect-fill:#075ea826;--control:#b24e00;--warn:#8a4b00;
  --equal:#8fc3ea;--explained:#d5e8f7;--changed:#f0a824;--unexplained:#e2743f;--uninformative:#e4e7eb;
  color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{
  --paper:#121518;--ink:#e6e9ec;--quiet:#99a3ae;--line:#2c3238;--tint:#1a1e22;
  --suspect:#6cb6f5;--suspect-fill:#6cb6f52e;--control:#f0a05a;--warn:#f0b26b;
  --equal:#225f93;--explained:#1d3a52;--changed:#a87400;--unexplained:#a8431a;--uninformative:#2a3036}}
@media print{:root{
  --paper:#fff;--ink:#000;--quiet:#444;--line:#bbb;--tint:#fff;
  --suspect:#075ea8;--suspect-fill:#075ea826;--control:#b24e00;--warn:#6b3a00;
  --equal:#8fc3ea;--explained:#d5e8f7;--changed:#f0a824;--unexplained:#e2743f;--uninformative:#e4e7eb;
  color-scheme:light}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:68rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:1.25rem}
.top{display:flex;flex-wrap:wrap;gap:0 2rem;justify-content:space-between;color:var(--quiet);font-size:.875rem;
  padding-bottom:.9rem;border-bottom:2px solid var(--ink)}
.kind{display:inline-block;margin:1.9rem 0 .7rem;padding:.1rem .6rem;border:1.5px solid currentColor;
  border-radius:.2rem;font-size:.875rem;font-weight:650;color:var(--suspect)}
.kind.open{color:var(--quiet)}
.kind.changed{color:var(--control)}
h1{margin:0 0 1.5rem;max-width:52rem;font-size:1.55rem;line-height:1.32;font-weight:620;
  letter-spacing:-.008em;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));margin:0 0 2rem;
  border-top:1px solid var(--line)}
.facts div{padding:.7rem 1rem .2rem 0}
.facts dt{color:var(--quiet);font-size:.8125rem}
.facts dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
.facts small{display:block;color:var(--quiet);font-size:.8125rem;overflow-wrap:anywhere}
section{display:grid;grid-template-columns:10.5rem minmax(0,1fr);gap:0 2rem;padding:1.3rem 0 1.5rem;
  border-top:1px solid var(--line)}
h2{margin:0;font-size:1rem;line-height:1.5;font-weight:650}
h3{margin:1.4rem 0 .4rem;font-size:.9375rem;font-weight:650}
p,ul,ol{margin:0 0 .7rem;max-width:46rem}
ul,ol{padding-left:1.2rem}
li{margin:.2rem 0}
.quiet,figcaption{color:var(--quiet);font-size:.875rem}
p,li,td,dd,summary{overflow-wrap:anywhere}
.warning{margin:0 0 .5rem;padding-left:.8rem;border-left:3px solid var(--warn)}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.84em}
pre{margin:0 0 .8rem;padding:.8rem 1rem;background:var(--tint);border:1px solid var(--line);border-radius:.2rem;
  overflow-x:auto;font-size:.8125rem;line-height:1.5}
pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:0 0 .6rem}
figcaption{max-width:46rem;margin-top:.5rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin-bottom:.6rem;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .9rem .28rem 0;text-align:left;vertical-align:baseline;border-bottom:1px solid var(--line)}
th{color:var(--quiet);font-weight:500;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
td.name{min-width:9rem}
td.short{white-space:nowrap}
section>div>:last-child{margin-bottom:0}
td:last-child,th:last-child{padding-right:0}
tr.suspect td{font-weight:650}
tr.suspect td:first-child{color:var(--suspect)}
tr.control td:first-child{color:var(--control)}
tr.failed td:last-child{font-weight:650;color:var(--warn)}
td.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.75rem;
  word-break:break-all;min-width:14rem}
dl.findings{display:grid;grid-template-columns:9rem minmax(0,1fr);gap:.35rem 1rem;margin:1.1rem 0 0;max-width:52rem}
dl.findings dt{color:var(--quiet)}
dl.findings dd{margin:0}
details{margin:.3rem 0}
summary{cursor:pointer}
details[open]>summary{margin-bottom:.6rem}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:.5rem 1.5rem}
svg text{fill:var(--ink);font-family:inherit}
svg.spike{display:block;width:100%;height:auto}
.spike text{font-size:12px}
.spike .tick,.spike .note,.spike .name{fill:var(--quiet)}
.spike .peak{font-size:15px;font-weight:650;fill:var(--suspect)}
.spike .peak,.spike .note{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--line)}
.axis{stroke:var(--quiet)}
.limit{stroke:var(--quiet);stroke-dasharray:2 3}
.suspect{fill:none;stroke:var(--suspect);stroke-width:2;stroke-linejoin:round}
.fill{fill:var(--suspect-fill)}
.dot{fill:var(--suspect)}
.control{fill:none;stroke:var(--control);stroke-width:1.5;stroke-dasharray:6 2;stroke-linejoin:round}
.key{display:inline-block;width:1.6rem;height:0;margin-right:.35rem;vertical-align:.28em;
  border-top:2.5px solid var(--suspect)}
.key.dashed{border-top:2px dashed var(--control)}
.key.dotted{border-top:2px dotted var(--quiet)}
.keys span{display:inline-block;margin-right:1.3rem;white-space:nowrap}
svg.map{display:block;max-width:none}
.map text{font-size:11.5px}
.role{fill:var(--quiet)!important}
.s-equal{fill:var(--equal)}
.s-explained{fill:var(--explained)}
.s-changed{fill:var(--changed)}
.s-unexplained{fill:var(--unexplained)}
.s-uninformative{fill:var(--uninformative)}
.s-skipped{fill:none;stroke:var(--quiet);stroke-dasharray:2 2}
.alpha{fill:var(--ink)}
.mark{fill:none;stroke:var(--ink);stroke-width:1.5}
ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;padding:0;margin:.6rem 0 0;max-width:none;
  font-size:.8125rem;color:var(--quiet)}
.legend b{font-weight:600;color:var(--ink)}
.legend svg{vertical-align:-3px;margin-right:.4rem}
footer{padding-top:1rem;padding-bottom:3rem;color:var(--quiet);font-size:.8125rem;border-top:1px solid var(--line)}
@media (max-width:46rem){
  main,header,footer{padding-left:1rem;padding-right:1rem}
  section{display:block}
  h2{margin-bottom:.6rem}
  h1{font-size:1.3rem}
  dl.findings{display:block}
  dl.findings dd{margin-bottom:.6rem}
  .facts{grid-template-columns:repeat(2,minmax(0,1fr))}
  .facts dd{font-size:1.1rem}}
@media print{
  @page{margin:16mm 14mm}
  body{font-size:10.5pt}
  main,header,footer{max-width:none;padding-left:0;padding-right:0}
  section{grid-template-columns:8rem minmax(0,1fr);gap:0 1.2rem;padding:.9rem 0}
  figure,tr,.facts,dl.findings,.warning{break-inside:avoid}
  h2,h3{break-after:avoid}
  .scroll,pre{overflow:visible}
  pre{white-space:pre-wrap;overflow-wrap:anywhere}
  svg.map{max-width:100%;height:auto}
  details::details-content{content-visibility:visible;height:auto}}
)css";

}  // namespace hieron
