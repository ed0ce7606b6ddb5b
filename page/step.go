package page

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	shellForm = regexp.MustCompile(`^(?:\|\d+ (?s:.*?) )?/bin/(?:ba)?sh -(?:e?o? ?pipefail -)?e?c `)
	nop       = regexp.MustCompile(`^/bin/sh -c #\(nop\)\s+`)
	verb      = regexp.MustCompile(`^(?:FROM|RUN|CMD|LABEL|MAINTAINER|EXPOSE|ENV|ADD|COPY|ENTRYPOINT|VOLUME|USER|WORKDIR|ARG|ONBUILD|STOPSIGNAL|HEALTHCHECK|SHELL)\b`)
	spaces    = regexp.MustCompile(`[ \t]{2,}`)
)

// Step reads a history's "created by" as the Dockerfile's line that it comes from.
func Step(createdBy string) (word, rest string) {
	s := strings.TrimSpace(strings.ToValidUTF8(createdBy, "?"))
	s = strings.TrimSpace(strings.TrimSuffix(s, "# buildkit"))
	switch {
	case nop.MatchString(s):
		s = nop.ReplaceAllString(s, "")
	case shellForm.MatchString(s):
		s = "RUN " + shellForm.ReplaceAllString(s, "")
	case strings.HasPrefix(s, "RUN "):
		if rest := strings.TrimPrefix(s, "RUN "); shellForm.MatchString(rest) {
			s = "RUN " + shellForm.ReplaceAllString(rest, "")
		}
	}
	if word = verb.FindString(s); word != "" {
		s = strings.TrimSpace(s[len(word):])
	} else if s == "" {
		s = "(nothing is told about this step)"
	}
	if len(s) > 8000 {
		s = Clip(s, 8000)
	}
	return word, shownLines(s)
}

// shownLines breaks a chain of commands where the Dockerfile most likely did, and spells
// out what cannot be printed.
func shownLines(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\t", " ").Replace(s)
	s = spaces.ReplaceAllString(s, " ")
	if !strings.Contains(s, "\n") {
		s = strings.ReplaceAll(s, " && ", "\n && ")
	}
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = Shown(line)
	}
	return strings.Join(lines, "\n")
}

// Shown gives a path for people: bytes that are no UTF-8, control characters and those
// that turn the direction of writing are spelled out as \xNN or \u{NNNN}.
func Shown(path string) string {
	clean := true
	for _, r := range path {
		clean = clean && r != utf8.RuneError && unicode.IsPrint(r)
	}
	if clean {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < ' ', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, path[i])
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteString(path[i : i+n])
		}
		i += n
	}
	return b.String()
}
