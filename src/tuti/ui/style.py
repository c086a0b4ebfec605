"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print."""

STYLE = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1c2024; --quiet: #59636e; --line: #c9d1d9; --soft: #f3f5f7; --accent: #0a5c9e;
  --bad: #b3261e; --series-0: #0a5c9e; --series-1: #b5480b; --series-2: #26734d; --series-3: #8a3a86;
  --series-4: #6b5900; --series-5: #51616f; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181c; --ink: #e6eaee; --quiet: #a3adb8; --line: #3a444e; --soft: #1e242a; --accent: #7cc0f5;
  --bad: #ff8a80; --series-0: #7cc0f5; --series-1: #ffab73; --series-2: #7fd6a8; --series-3: #e3a5df;
  --series-4: #d9c766; --series-5: #b4c0cb; } }
.tuti, .tuti * { box-sizing: border-box; }
body.tuti { margin: 0; background: var(--paper); color: var(--ink); }
.tuti { font: 1rem/1.6 system-ui, "Segoe UI", Vazirmatn, Tahoma, "Noto Sans", "Noto Naskh Arabic", sans-serif;
  overflow-wrap: anywhere; }
.tuti main, .tuti header, .tuti footer { max-inline-size: 60rem; margin-inline: auto; padding-inline: 1rem; }
.tuti h1 { font-size: 1.6rem; line-height: 1.25; margin-block: 1.2rem .4rem; }
.tuti h2 { font-size: 1.2rem; line-height: 1.3; margin-block: 2rem .5rem;
  border-block-end: 1px solid var(--line); padding-block-end: .2rem; }
.tuti h3 { font-size: 1rem; margin-block: 1.2rem .3rem; }
.tuti p { margin-block: .5rem; }
.tuti a { color: var(--accent); }
.tuti :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.tuti a[aria-current] { font-weight: 700; }
.tuti .quiet { color: var(--quiet); }
.tuti .bad { color: var(--bad); font-weight: 600; }
.tuti nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.tuti .skip:not(:focus) { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
  clip-path: inset(50%); }
.tuti figure { margin: 1rem 0; }
.tuti figcaption { font-weight: 600; }
.tuti .chart { inline-size: 100%; max-inline-size: 38rem; block-size: auto; display: block; }
.tuti .chart text { fill: var(--ink); font: 12px system-ui, Tahoma, sans-serif; }
@media (max-width: 40rem) { .tuti .chart text { font-size: 15px; } }
.tuti .chart .grid { stroke: var(--line); stroke-width: 1; }
.tuti .chart .series { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.tuti .graph { display: block; }
.tuti .graph text { fill: var(--ink); font: 13px system-ui, Vazirmatn, Tahoma, sans-serif; }
.tuti .graph .name { font-weight: 600; }
.tuti .graph rect { fill: var(--soft); stroke: var(--quiet); }
.tuti .graph .used { fill: var(--series-0); }
.tuti .graph .marked { stroke: var(--bad); stroke-width: 3; }
.tuti .graph .edge { stroke: var(--quiet); stroke-width: 1.5; fill: none; }
.tuti ul.legend { list-style: none; margin: .2rem 0; padding: 0; display: flex;
  flex-wrap: wrap; gap: .1rem 1.2rem; }
.tuti .scroll { overflow-x: auto; margin-block: .8rem; }
.tuti table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.tuti caption { text-align: start; font-weight: 600; padding-block-end: .3rem; }
.tuti th, .tuti td { padding: .25rem .7rem; border-block-end: 1px solid var(--line); text-align: start;
  vertical-align: top; }
.tuti td.text { min-inline-size: 8rem; max-inline-size: 34rem; overflow-wrap: anywhere; }
.tuti th.number, .tuti td.number { text-align: end; white-space: nowrap; }
.tuti pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; padding: .6rem .8rem;
  background: var(--soft); border-inline-start: 3px solid var(--line); font: inherit; }
.tuti .charts { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.tuti pre.asked { background: none; border: 0; padding-block: 0; color: var(--quiet); }
.tuti pre.code { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
.tuti details { margin-block: .5rem; }
.tuti summary { cursor: pointer; }
@media print { .tuti details::details-content { content-visibility: visible; block-size: auto; } }
@media (prefers-reduced-motion: reduce) {
  .tuti * { transition: none !important; animation: none !important; } }
"""
