package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The picture's measures, in pixels.
const (
	chartWidth = 940
	labelWidth = 250
	barHeight  = 15
	rowGap     = 9
	chartTop   = 74
	textWidth  = 240 // what is written behind the longest bar
)

const chartStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.note, .value { fill: #57606a; font-size: 12px }
.ours { fill: #0969da } .other { fill: #8c959f } .one { stroke: #cf222e; stroke-dasharray: 3 3 }
.back { fill: #ffffff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .note, .value { fill: #9198a1 } .ours { fill: #4493f8 } .other { fill: #656c76 } .back { fill: #0d1117 } .one { stroke: #f85149 }
}
</style>
`

// chart is docs/benchmarks.svg: how many times as fast as the first peer each engine is.
func (r *report) chart() string {
	if len(r.Engines) < 2 {
		return emptyChart
	}
	base := r.Engines[1].Name
	shown := slices.DeleteFunc(slices.Clone(r.Figures), func(f figure) bool { return f.Chart == "" || f.ratio(base) == 0 })
	others := slices.Clone(r.Engines[2:])
	most, height := 1.0, chartTop
	for _, f := range shown {
		for _, e := range append([]version{r.Engines[0]}, others...) {
			if n := f.against(base, e.Name); n > 0 {
				most, height = max(most, n), height+barHeight+1
			}
		}
		height += rowGap
	}
	height += 10
	unit := float64(chartWidth-labelWidth-textWidth) / most
	w := &strings.Builder{}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="How many times as fast as %s">`+"\n%s", chartWidth, height, html.EscapeString(base), chartStyle)
	fmt.Fprintf(w, `<rect class="back" width="%d" height="%d"/>`+"\n", chartWidth, height)
	_, last := r.span()
	text(w, "title", 16, 28, "start", fmt.Sprintf("How many times as fast as %s (longer is better)", r.Engines[1].Name))
	text(w, "note", 16, 48, "start", fmt.Sprintf("medians of whole commands; %s %s; %d processors, Linux %s; %s", base, r.Engines[1].Version, r.Machine.Processors, r.Machine.Kernel, last))
	one := labelWidth + unit
	fmt.Fprintf(w, `<line class="one" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", one, one, chartTop-8, height-10)
	y := chartTop
	for _, f := range shown {
		text(w, "", labelWidth-10, y+12, "end", f.Chart)
		bar(w, y, "ours", unit*f.ratio(base), fmt.Sprintf("%s   %s, %s %s", times(f.ratio(base)), f.amount(f.Sides[ourName].Median), base, f.amount(f.Sides[base].Median)))
		y += barHeight + 1
		for _, e := range others {
			if n := f.against(base, e.Name); n > 0 {
				bar(w, y, "other", unit*n, fmt.Sprintf("%s   %s %s", times(n), e.Name, f.amount(f.Sides[e.Name].Median)))
				y += barHeight + 1
			}
		}
		y += rowGap
	}
	w.WriteString("</svg>\n")
	return w.String()
}

const emptyChart = `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="40"><text x="10" y="25">measured beside no other engine</text></svg>` + "\n"

// against is how many times as good as base another engine was.
func (f figure) against(base, name string) float64 {
	theirs, ok := f.Sides[name]
	if !ok || theirs.Median == 0 {
		return 0
	}
	if f.Unit == "/s" {
		return theirs.Median / f.Sides[base].Median
	}
	return f.Sides[base].Median / theirs.Median
}

func bar(w *strings.Builder, y int, class string, length float64, label string) {
	length = math.Max(length, 1)
	fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class, labelWidth, y, length, barHeight)
	text(w, "value", labelWidth+int(length)+6, y+12, "start", label)
}

func text(w *strings.Builder, class string, x, y int, anchor, s string) {
	fmt.Fprintf(w, `<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(s))
}
