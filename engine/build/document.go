package build

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/oci"
)

// history is an entry of an image's history, as BuildKit's exporter writes it: the keys in this order.
type history struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// document writes an image's document: what the front end says, on these layers, made at a
// time. Of the history what is the base's stays as it is; the rest is worded as the classic builder's, if asked for.
func document(config, base []byte, diffs []string, epoch time.Time, classic bool) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &fields); err != nil || fields == nil {
		return nil, api.Errorf(api.Invalid, "the image's config makes no sense: %v", err)
	}
	var said, below struct {
		Created *time.Time
		History []history
		Config  struct{ Healthcheck *healthcheck }
	}
	if err := json.Unmarshal(config, &said); err != nil {
		return nil, api.Errorf(api.Invalid, "the image's config makes no sense: %v", err)
	}
	if len(base) > 0 {
		if err := json.Unmarshal(base, &below); err != nil {
			return nil, api.Errorf(api.Invalid, "the base image's config makes no sense: %v", err)
		}
	}
	list := fit(said.History, len(diffs))
	for n := range list {
		if n < len(below.History) && same(list[n], below.History[n]) {
			continue
		}
		if h := &list[n]; h.Created == nil || h.Created.After(epoch) {
			h.Created = &epoch
		}
	}
	wordProbe(list[min(len(below.History), len(list)):], said.Config.Healthcheck)
	if classic {
		list = classicHistory(list, len(below.History), diffs)
	}
	if said.Created == nil || said.Created.After(epoch) {
		said.Created = &epoch
	}
	if diffs == nil {
		diffs = []string{}
	}
	for name, value := range map[string]any{
		"created": said.Created, "history": list,
		"rootfs": struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		}{"layers", diffs},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[name] = text
	}
	return json.Marshal(fields)
}

// healthcheck has the fields of HEALTHCHECK in the order in which Docker prints them.
type healthcheck struct {
	Test                                          []string
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

// wordProbe words the last HEALTHCHECK as Docker 28 does, whose BuildKit is older than ours.
func wordProbe(list []history, h *healthcheck) {
	for n := len(list) - 1; n >= 0 && h != nil; n-- {
		if strings.HasPrefix(list[n].CreatedBy, "HEALTHCHECK {") {
			list[n].CreatedBy = fmt.Sprintf("HEALTHCHECK %q", any(h))
			return
		}
	}
}

// fit makes the history have as many layers as there are.
func fit(list []history, layers int) []history {
	list = slices.Clone(list)
	n := 0
	for i := range list {
		if n >= layers {
			list[i].EmptyLayer = true
		}
		if !list[i].EmptyLayer {
			n++
		}
	}
	for ; n < layers; n++ {
		list = append(list, history{CreatedBy: "created by buildkit", Comment: "buildkit.exporter.image.v0"})
	}
	return list
}

// same compares entries, times too.
func same(a, b history) bool {
	if (a.Created == nil) != (b.Created == nil) || a.Created != nil && !a.Created.Equal(*b.Created) {
		return false
	}
	a.Created, b.Created = nil, nil
	return a == b
}

// emptyConfig is the config of a result without one, as of a graph that no Dockerfile made.
func emptyConfig(p oci.Platform) []byte {
	text, _ := json.Marshal(map[string]any{ // of strings: it never errs
		"architecture": p.Architecture, "os": p.OS, "rootfs": map[string]any{"type": "layers", "diff_ids": nil},
		"config": map[string]any{"Env": []string{"PATH=" + defaultPath}, "WorkingDir": "/"},
	})
	return text
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// historyOf reads the history of a document.
func historyOf(raw []byte) []history {
	var said struct{ History []history }
	_ = json.Unmarshal(raw, &said) // it was read when the front end gave it
	return said.History
}
