"""How the page of a run looks: one style sheet, for screens from 320 px on, bright or dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfaf8; --text: #23262b; --quiet: #646a73; --line: #e3e1dc; --card: #ffffff;
  --accent: #2f5f9e; --mark: #fdf1d6; --paper: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #16181c; --text: #d9dbdf; --quiet: #969ca6; --line: #31353c; --card: #1e2126;
    --accent: #8fb6ea; --mark: #3b331d; --paper: #f0f0f0;
  }
  figure img { filter: brightness(.94); }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; padding: 0 1rem 4rem; background: var(--ground); color: var(--text);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
header, main, footer { max-width: 68rem; margin: 0 auto; }
header { padding: 2.5rem 0 .5rem; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: 0 0 .5rem; font-weight: 650; }
h2 {
  font-size: 1.3rem; line-height: 1.3; font-weight: 650; margin: 3rem 0 .75rem; padding-top: 1rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.02rem; font-weight: 650; margin: 2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
.quiet, figcaption, small { color: var(--quiet); }
.quiet, figcaption { font-size: .9rem; line-height: 1.5; }
a { color: var(--accent); text-underline-offset: .15em; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: 0; }
nav ul { margin: 1rem 0 0; font-size: .92rem; }
.numbers {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 10rem), 1fr));
  gap: .75rem; padding: 0; margin: 1rem 0; list-style: none;
}
.numbers li {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem .9rem;
}
.numbers b { display: block; font-size: 1.45rem; line-height: 1.3; font-weight: 600; }
.numbers b, td.number { font-variant-numeric: tabular-nums; }
.numbers b small { font-size: .85rem; font-weight: 400; white-space: nowrap; }
.numbers span { display: block; font-size: .9rem; line-height: 1.4; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.45; margin: .75rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; }
th, td { border-bottom: 1px solid var(--line); overflow-wrap: normal; }
td.long { min-width: 12rem; overflow-wrap: anywhere; }
th { font-weight: 600; }
td.number { text-align: right; white-space: nowrap; }
tr.changed td, tr.changed th { background: var(--mark); }
tr.changed td:first-child { padding-left: .4rem; }
figure { margin: 1rem 0 2rem; }
figure .wide { background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure img.sheet { min-width: 44rem; }
figcaption { margin-top: .6rem; max-width: 44rem; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem;
}
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--quiet); } dd { margin: 0; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .5rem; } }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
@media print { figure, li { break-inside: avoid; } figure img.sheet { min-width: 0; } }
"""
