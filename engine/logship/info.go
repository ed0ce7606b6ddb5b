package logship

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// Info is what a driver may tell of a container. Its members and methods are what the
// log option `tag` can name.
type Info struct {
	Driver              string
	Config              map[string]string // the log options
	ContainerID         string
	ContainerName       string // with the slash
	ContainerEntrypoint string
	ContainerArgs       []string
	ContainerImageID    string // sha256:…
	ContainerImageName  string
	ContainerCreated    time.Time
	ContainerEnv        []string
	ContainerLabels     map[string]string
	LogPath             string
	DaemonName          string
}

// ID is the first twelve characters of the container's id.
func (i *Info) ID() string { return cut(i.ContainerID, 12) }

// FullID is the container's id.
func (i *Info) FullID() string { return i.ContainerID }

// Name is the container's name.
func (i *Info) Name() string { return strings.TrimPrefix(i.ContainerName, "/") }

// ImageID is the first twelve characters of the image's id, its algorithm among them, as
// Docker has it.
func (i *Info) ImageID() string { return cut(i.ContainerImageID, 12) }

// ImageFullID is the image's id.
func (i *Info) ImageFullID() string { return i.ContainerImageID }

// ImageName is the image as it was asked for.
func (i *Info) ImageName() string { return i.ContainerImageName }

// Hostname is that of this machine.
func (i *Info) Hostname() (string, error) { return os.Hostname() }

// Command is the entry point with its arguments.
func (i *Info) Command() string {
	return strings.Join(append([]string{i.ContainerEntrypoint}, i.ContainerArgs...), " ")
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

// ExtraAttributes picks the labels and variables that the options name, with their keys
// changed by rename, when there is one.
func (i *Info) ExtraAttributes(rename func(string) string) (map[string]string, error) {
	env := make(map[string]string, len(i.ContainerEnv))
	for _, e := range i.ContainerEnv {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	attrs := map[string]string{}
	pick := func(k, v string) {
		if rename != nil {
			k = rename(k)
		}
		attrs[k] = v
	}
	for _, row := range []struct {
		key  string
		from map[string]string
	}{{"labels", i.ContainerLabels}, {"env", env}} {
		for k := range strings.SplitSeq(i.Config[row.key], ",") {
			if v, ok := row.from[k]; ok {
				pick(k, v)
			}
		}
		expr := i.Config[row.key+"-regex"]
		if expr == "" {
			continue
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, err
		}
		for k, v := range row.from {
			if re.MatchString(k) {
				pick(k, v)
			}
		}
	}
	return attrs, nil
}

// tagFuncs are the functions that Docker's templates of tags know.
var tagFuncs = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSpace(b.String()), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": func(s string) string {
		words := strings.Split(s, " ")
		for i, w := range words {
			if w != "" {
				words[i] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
		return strings.Join(words, " ")
	},
	"pad": func(s string, before, after int) (string, error) {
		if s == "" {
			return s, nil
		}
		if before < 0 || after < 0 || before+after > maxTag {
			return "", fmt.Errorf("pad: from 0 to %d spaces", maxTag)
		}
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after), nil
	},
	"truncate": func(s string, n int) string { return cut(s, max(n, 0)) },
}

// maxTag bounds what a tag's template may make.
const maxTag = 4096

// Tag is what the option `tag` says, usual when there is none.
func (i *Info) Tag(usual string) (string, error) {
	text := i.Config["tag"]
	if text == "" {
		text = usual
	}
	t, err := template.New("log-tag").Funcs(tagFuncs).Parse(text)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, i); err != nil {
		// The type's name is what clients know it by.
		return "", errors.New(strings.ReplaceAll(err.Error(), "*logship.Info", "*logger.Info"))
	}
	if b.Len() > maxTag {
		return "", fmt.Errorf("the tag has more than %d bytes", maxTag)
	}
	return b.String(), nil
}

// idTag is the tag when none is asked for.
const idTag = "{{.ID}}"
