package api

import "strings"

// startHints say what may help against an error of a start, by a part of its text.
var startHints = []struct{ text, hint string }{
	{"executable file not found in $PATH", "the image has no such program in any folder of its PATH"},
	{"exec format error", "the program is for another kind of machine, or a script without a #! line"},
	{"is a directory", "what is to be run is a folder"},
	{"permission denied", "what is to be run is not executable for the container's user"},
	{"no such file or directory", "a file is missing in the image: the program, the interpreter that its #! line names, or its loader"},
}

// StartHint says what an error of a start means, or nothing.
func StartHint(text string) string {
	for _, h := range startHints {
		if strings.Contains(text, h.text) && strings.Contains(text, "exec") {
			return h.hint
		}
	}
	return ""
}
