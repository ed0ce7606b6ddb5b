package build

import (
	"strings"
	"sync"

	"lighter/api"
)

// classicSource tells of the Dockerfile once, as soon as its steps are known: who shows a build as the classic
// builder does goes by its lines.
func classicSource(tell func(api.BuildMessage)) func([]*vertex) {
	var once sync.Once
	return func(list []*vertex) {
		for _, v := range list {
			if at := v.place(); at != nil {
				once.Do(func() { tell(api.BuildMessage{Source: &api.BuildSource{Filename: at.Filename, Data: at.Data}}) })
				return
			}
		}
	}
}

// classicHistory words the entries of a history that are new, those after the base's, as Docker's classic builder does.
// It has a digest for what was copied; that of the layer stands here.
func classicHistory(list []history, base int, diffs []string) []history {
	layer := 0
	for n := range list {
		h := &list[n]
		diff := ""
		if !h.EmptyLayer && layer < len(diffs) {
			diff = strings.TrimPrefix(diffs[layer], "sha256:")
			layer++
		}
		if n >= base && h.Comment == "buildkit.dockerfile.v0" {
			h.Comment, h.CreatedBy = "", classicCommand(h.CreatedBy, diff)
		}
	}
	return list
}

// classicNop begins what runs nothing.
const classicNop = "/bin/sh -c #(nop) "

func classicCommand(said, diff string) string {
	said = strings.TrimSuffix(said, " # buildkit")
	verb, rest, _ := strings.Cut(said, " ")
	words := strings.Fields(rest)
	switch verb {
	case "RUN":
		return rest
	case "WORKDIR":
		return classicNop + said
	case "COPY", "ADD":
		for len(words) > 0 && strings.HasPrefix(words[0], "--") {
			words = words[1:]
		}
		if len(words) < 2 {
			return classicNop + said
		}
		kind := "file"
		if len(words) > 2 {
			kind = "multi"
		}
		return classicNop + verb + " " + kind + ":" + diff + " in " + words[len(words)-1] + " "
	case "EXPOSE":
		rest = strings.NewReplacer("[", "", "]", "", "/tcp", "").Replace(rest)
		return classicNop + " EXPOSE " + rest
	}
	return classicNop + " " + said
}
