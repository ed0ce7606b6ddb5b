package cli

import (
	"bytes"
	"unicode/utf8"
)

// align lays tab-separated cells out in columns: a column is as wide as its widest
// cell and the padding, and at least as wide as least. A cell belongs to a column
// only when a tab ends it; a column ends where a line does not reach it, as in
// text/tabwriter. Wide characters count twice.
func align(text []byte, least, padding int) []byte {
	lines := bytes.Split(text, []byte{'\n'})
	cells := make([][][]byte, len(lines))
	for i, line := range lines {
		cells[i] = bytes.Split(line, []byte{'\t'})
	}
	widths := make([][]int, len(lines))
	for i := range lines {
		for col := len(widths[i]); col < len(cells[i])-1; col++ {
			// The block of lines from here on that have this column.
			end, width := i, least
			for ; end < len(lines) && col < len(cells[end])-1; end++ {
				width = max(width, cellWidth(cells[end][col])+padding)
			}
			for k := i; k < end; k++ {
				if len(widths[k]) == col {
					widths[k] = append(widths[k], width)
				}
			}
		}
	}
	out := make([]byte, 0, 2*len(text)+64)
	for i, row := range cells {
		for col, cell := range row {
			out = append(out, cell...)
			if col < len(row)-1 {
				for n := cellWidth(cell); n < widths[i][col]; n++ {
					out = append(out, ' ')
				}
			}
		}
		if i < len(cells)-1 {
			out = append(out, '\n')
		}
	}
	return out
}

// cellWidth counts the columns of a terminal that a text takes.
func cellWidth(b []byte) int {
	n := 0
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			b = b[1:]
			n++
			continue
		}
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		n += runeWidth(r)
	}
	return n
}

// Width counts the columns of a terminal that a text takes.
func Width(s string) int { return cellWidth([]byte(s)) }

// Ellipsis cuts a text to a width, the last column of which is then "…".
func Ellipsis(s string, width int) string { return ellipsis(s, width) }

// wideRunes are the ranges that take two columns: East Asian wide and full-width
// characters and emoji (Unicode, EastAsianWidth.txt).
var wideRunes = [...][2]rune{
	{0x1100, 0x115f}, {0x231a, 0x231b}, {0x2329, 0x232a}, {0x23e9, 0x23ec}, {0x23f0, 0x23f0},
	{0x23f3, 0x23f3}, {0x25fd, 0x25fe}, {0x2614, 0x2615}, {0x2648, 0x2653}, {0x267f, 0x267f},
	{0x2693, 0x2693}, {0x26a1, 0x26a1}, {0x26aa, 0x26ab}, {0x26bd, 0x26be}, {0x26c4, 0x26c5},
	{0x26ce, 0x26ce}, {0x26d4, 0x26d4}, {0x26ea, 0x26ea}, {0x26f2, 0x26f3}, {0x26f5, 0x26f5},
	{0x26fa, 0x26fa}, {0x26fd, 0x26fd}, {0x2705, 0x2705}, {0x270a, 0x270b}, {0x2728, 0x2728},
	{0x274c, 0x274c}, {0x274e, 0x274e}, {0x2753, 0x2755}, {0x2757, 0x2757}, {0x2795, 0x2797},
	{0x27b0, 0x27b0}, {0x27bf, 0x27bf}, {0x2b1b, 0x2b1c}, {0x2b50, 0x2b50}, {0x2b55, 0x2b55},
	{0x2e80, 0x303e}, {0x3041, 0x33ff}, {0x3400, 0x4dbf}, {0x4e00, 0xa4cf}, {0xa960, 0xa97c},
	{0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe10, 0xfe19}, {0xfe30, 0xfe6b}, {0xff01, 0xff60},
	{0xffe0, 0xffe6}, {0x16fe0, 0x18cd5}, {0x1aff0, 0x1b2fb}, {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf},
	{0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a}, {0x1f200, 0x1f265}, {0x1f300, 0x1f320}, {0x1f32d, 0x1f335},
	{0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca}, {0x1f3cf, 0x1f3d3}, {0x1f3e0, 0x1f3f0},
	{0x1f3f4, 0x1f3f4}, {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc}, {0x1f4ff, 0x1f53d},
	{0x1f54b, 0x1f54e}, {0x1f550, 0x1f567}, {0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4},
	{0x1f5fb, 0x1f64f}, {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6d7},
	{0x1f6dc, 0x1f6df}, {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7eb}, {0x1f7f0, 0x1f7f0},
	{0x1f90c, 0x1f93a}, {0x1f93c, 0x1f945}, {0x1f947, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
}

// runeWidth is 2 for wide runes, 0 for combining marks and 1 for the rest.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case r <= 0x36f, r == 0x200b, r == 0x200d, r >= 0xfe00 && r <= 0xfe0f:
		return 0
	}
	low, high := 0, len(wideRunes)
	for low < high {
		if mid := (low + high) / 2; wideRunes[mid][1] < r {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(wideRunes) && wideRunes[low][0] <= r {
		return 2
	}
	return 1
}

// ellipsis cuts a text to a width, the last column of which is then "…".
func ellipsis(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if width == 1 {
		for _, r := range s {
			return string(r)
		}
	}
	n, cut := 0, len(s)
	for i, r := range s {
		if n += max(1, runeWidth(r)); n > width-1 && cut == len(s) {
			cut = i
		}
	}
	if n <= width {
		return s
	}
	return s[:cut] + "…"
}

// shortID cuts an id to the twelve digits that lists show.
func shortID(id string) string {
	for i := range len(id) {
		if id[i] == ':' {
			id = id[i+1:]
			break
		}
	}
	return id[:min(12, len(id))]
}
