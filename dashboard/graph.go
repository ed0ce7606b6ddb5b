package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"lighter/page"
)

// A graph is drawn in a box of this size; the page stretches it.
const (
	graphWidth, graphHeight = 720, 120
	graphSteps              = 180 // points of a line, at most
)

// line is one line of a graph. Its paths are in the graph's box.
type line struct {
	Name, Class string
	Path, Area  string
	Now         string // the last value
}

// graph is a picture of an hour, made here: a page without script has it, too.
type graph struct {
	Title, Summary string
	Top            string // the value at the upper edge
	Lines          []line
	Seconds        int    // that it spans
	Span           string // the same, for people
	Values         string // JSON for the script: [[age in seconds, "value of the 1st line", …], …]
	Limit          string // where a limit is drawn; empty for none
	LimitName      string
	Empty          bool
}

// curve is what a line shows of each point.
type curve struct {
	name, class string
	of          func(*point) float64
}

// draw makes a graph of points. unit writes a value; least is the lowest value of the upper
// edge. limit of 0 is none; a limit is drawn when it is not far above what was used.
func draw(title string, points []point, unit func(float64) string, least, limit float64, curves ...curve) graph {
	now, top := time.Now(), least
	span := spanOf(points, now)
	g := graph{Title: title, Empty: len(points) == 0, Seconds: int(span.Seconds()), Span: fmt.Sprintf("%.0f minutes", span.Minutes())}
	for _, c := range curves {
		for i := range points {
			top = max(top, c.of(&points[i]))
		}
	}
	if limit > 0 && limit < 4*top {
		top = max(top, limit)
	} else {
		limit = 0
	}
	top = round(top * 1.05)
	g.Top = unit(top)
	y := func(v float64) float64 { return graphHeight * (1 - v/top) }
	if limit > 0 {
		g.Limit, g.LimitName = number(y(limit)), "limit "+unit(limit)
	}
	rows := map[int][]string{}
	ages := []int{}
	for n, c := range curves {
		l := line{Name: c.name, Class: c.class}
		var path, area strings.Builder
		begin, before, highest, lastX := 0.0, time.Time{}, 0.0, 0.0
		for i, p := range thin(points, span, c.of) {
			x, v := graphWidth*(1-float64(now.Sub(p.at))/float64(span)), c.of(&p)
			gap := i > 0 && p.at.Sub(before) > 3*max(every, span/graphSteps)
			if i == 0 || gap {
				if gap {
					fmt.Fprintf(&area, "L%s %dL%s %dZ", number(lastX), graphHeight, number(begin), graphHeight)
				}
				begin = x
				fmt.Fprintf(&path, "M%s %s", number(x), number(y(v)))
				fmt.Fprintf(&area, "M%s %s", number(x), number(y(v)))
			} else {
				fmt.Fprintf(&path, "L%s %s", number(x), number(y(v)))
				fmt.Fprintf(&area, "L%s %s", number(x), number(y(v)))
			}
			before, lastX, highest = p.at, x, max(highest, v)
			age := int(now.Sub(p.at).Seconds())
			if n == 0 {
				ages = append(ages, age)
			}
			rows[age] = append(rows[age], unit(v))
		}
		if area.Len() > 0 {
			fmt.Fprintf(&area, "L%s %dL%s %dZ", number(lastX), graphHeight, number(begin), graphHeight)
			l.Now = unit(c.of(&points[len(points)-1]))
			g.Summary += fmt.Sprintf(", %s now %s and at most %s", c.name, l.Now, unit(highest))
		}
		l.Path, l.Area = path.String(), area.String()
		g.Lines = append(g.Lines, l)
	}
	g.Summary = title + " over the last " + g.Span + g.Summary
	g.Values = readings(ages, rows, len(curves))
	return g
}

// readings are what the script tells under the pointer: by age in seconds the values of all lines.
func readings(ages []int, rows map[int][]string, curves int) string {
	values := [][]any{}
	for _, age := range ages {
		if len(rows[age]) >= curves {
			row := []any{age}
			for _, v := range rows[age][:curves] {
				row = append(row, v)
			}
			values = append(values, row)
		}
	}
	b, err := json.Marshal(values)
	if err != nil {
		return "" // of numbers and texts it never errs
	}
	return string(b)
}

// spanOf is the time that a graph shows: an hour, or less while there is less to show.
func spanOf(points []point, now time.Time) time.Duration {
	for _, span := range []time.Duration{2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute} {
		if len(points) == 0 || now.Sub(points[0].at) <= span {
			return span
		}
	}
	return kept
}

// lasting is a time that something goes on for.
func lasting(d time.Duration) string { return strings.ToLower(units.HumanDuration(d)) }

// thin leaves of points at most graphSteps: the highest of each stretch of time.
func thin(points []point, span time.Duration, of func(*point) float64) []point {
	step := span / graphSteps
	var list []point
	var at int64 = -1
	for i := range points {
		bucket := points[i].at.UnixNano() / int64(step)
		switch {
		case bucket != at:
			list = append(list, points[i])
			at = bucket
		case of(&points[i]) > of(&list[len(list)-1]):
			when := list[len(list)-1].at
			list[len(list)-1] = points[i]
			list[len(list)-1].at = when
		}
	}
	return list
}

// round gives a number at or above v that is easy to read: 1, 2, 2.5 or 5 times a power of ten.
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// spark is a small line without words: the last ten minutes of CPU, or less.
func spark(points []point) string {
	const width, height = 120, 28
	now, top := time.Now(), 5.0
	span := min(spanOf(points, now), 10*time.Minute)
	for i := range points {
		top = max(top, points[i].cpu)
	}
	var b strings.Builder
	verb := "M"
	for i := range points {
		age := now.Sub(points[i].at)
		if age > span {
			continue
		}
		fmt.Fprintf(&b, "%s%s %s", verb, number(width*(1-float64(age)/float64(span))), number(1+(height-2)*(1-points[i].cpu/top)))
		verb = "L"
	}
	return b.String()
}

// graphs are the four pictures of a container, or of all together.
func graphs(points []point, cpus float64) []graph {
	limit := 0.0
	if len(points) > 0 {
		limit = points[len(points)-1].limit
	}
	return []graph{
		draw("CPU", points, percent, 5, 100*cpus, curve{"used", "one", func(p *point) float64 { return p.cpu }}),
		draw("Memory", points, bytes2, 1<<20, limit, curve{"used", "one", func(p *point) float64 { return p.memory }}),
		draw("Network", points, rate, 1000, 0, curve{"received", "one", func(p *point) float64 { return p.received }},
			curve{"sent", "two", func(p *point) float64 { return p.sent }}),
		draw("Disk", points, rate, 1000, 0, curve{"read", "one", func(p *point) float64 { return p.read }},
			curve{"written", "two", func(p *point) float64 { return p.written }}),
	}
}

func percent(v float64) string {
	if v > 0 && v < 10 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " %"
}

func bytes2(v float64) string { return page.Size(int64(v)) }
func rate(v float64) string   { return page.Size(int64(v)) + "/s" }
