package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// classicSteps tells of a build as the classic builder does: one instruction after the other, in the order
// of the Dockerfile, whatever the order in which the builder works. What a step prints before its turn waits.
type classicSteps struct {
	out     *progress
	quiet   bool
	ctx     context.Context
	images  *image.Images
	before  map[string]bool // images that were there
	target  string
	request *api.BuildRequest
	names   []string

	steps    []*classicStep
	vertices map[string]*classicVertex
	known    bool // what the target needs has been told
	at       int  // the step whose turn it is
	held     bytes.Buffer
	result   *api.BuildResult
	failed   string // the digest of the vertex that failed
	over     bool
}

// The kinds of step.
const (
	stepArg   = iota // before the first stage
	stepFrom         // begins a stage
	stepFiles        // the builder works on it
	stepMeta         // only the image's config knows it
)

// classicStep is one instruction.
type classicStep struct {
	kind, stage int
	text        string
	from        string // of a FROM
	lines       []parser.Range
	vertices    []*classicVertex
	told        int // how much of it: the Step line, that it runs, all
	log         []any
}

// classicVertex is what the builder told of a vertex last.
type classicVertex struct {
	digest                       string
	name                         string
	started, done, cached, wrong bool
}

// tell takes a message of the builder. It is called by one at a time.
func (c *classicSteps) tell(m api.BuildMessage) {
	if m.Source != nil {
		c.read(m.Source.Data)
	}
	if m.Progress == nil {
		return
	}
	for _, v := range m.Progress.Vertexes {
		c.vertex(v)
	}
	for _, l := range m.Progress.Logs {
		c.print(l)
	}
	c.advance()
}

// read lists the steps. A Dockerfile that cannot be read has none: the builder says what is wrong with it.
func (c *classicSteps) read(dockerfile []byte) {
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return
	}
	stages, args, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return
	}
	if n, ok := instructions.HasStage(stages, c.target); ok && c.target != "" {
		stages = stages[:n+1]
	}
	c.steps, c.vertices = nil, map[string]*classicVertex{}
	for i := range args {
		c.steps = append(c.steps, &classicStep{kind: stepArg, stage: -1, text: fmt.Sprint(&args[i])})
	}
	for n, s := range stages {
		c.steps = append(c.steps, &classicStep{kind: stepFrom, stage: n, text: s.SourceCode, from: s.BaseName, lines: s.Location})
		for _, cmd := range s.Commands {
			kind := stepMeta
			switch cmd.(type) {
			case *instructions.RunCommand, *instructions.CopyCommand, *instructions.AddCommand, *instructions.WorkdirCommand:
				kind = stepFiles
			}
			c.steps = append(c.steps, &classicStep{kind: kind, stage: n, text: fmt.Sprint(cmd), lines: cmd.Location()})
		}
	}
	for _, option := range slices.Sorted(maps.Keys(c.request.Options)) {
		if label, ok := strings.CutPrefix(option, "label:"); ok {
			c.steps = append(c.steps, &classicStep{kind: stepMeta, stage: len(stages) - 1, text: "LABEL " + label + "=" + c.request.Options[option]})
		}
	}
}

// vertex notes how far a vertex is, and which steps it is.
func (c *classicSteps) vertex(v *api.BuildVertex) {
	if c.vertices == nil || len(v.Lines) == 0 {
		return
	}
	c.known = true
	known := c.vertices[v.Digest]
	if known == nil {
		known = &classicVertex{digest: v.Digest, name: v.Name}
		c.vertices[v.Digest] = known
		for _, s := range c.steps {
			if slices.ContainsFunc(v.Lines, func(l api.BuildLines) bool { return s.begins(l) }) {
				s.vertices = append(s.vertices, known)
			}
		}
	}
	known.started = known.started || v.Started != nil
	known.done = known.done || v.Completed != nil
	known.cached = known.cached || v.Cached
	known.wrong = known.wrong || v.Error != ""
	if v.Error != "" && c.failed == "" {
		c.failed = v.Digest
	}
}

// begins tells whether lines are the step's.
func (s *classicStep) begins(l api.BuildLines) bool {
	return len(s.lines) > 0 && s.kind != stepMeta && s.lines[0].Start.Line == l.Start
}

// print keeps what a step prints until its turn.
func (c *classicSteps) print(l *api.VertexLog) {
	text := string(l.Data)
	if l.Stream == systemStderr {
		text = "\x1b[91m" + text + "\x1b[0m"
	}
	for _, s := range c.steps {
		if slices.ContainsFunc(s.vertices, func(v *classicVertex) bool { return v.digest == l.Vertex }) {
			s.log = append(s.log, api.Progress{Stream: text})
			return
		}
	}
}

const systemStderr = 2

// How much was told of a step.
const (
	toldNothing = iota
	toldHead
	toldRunning
)

// advance tells what can be told.
func (c *classicSteps) advance() {
	for (c.known || c.over) && c.at < len(c.steps) && c.step(c.steps[c.at]) {
		c.at++
	}
}

// step tells of the step whose turn it is, and whether that was all.
func (c *classicSteps) step(s *classicStep) bool {
	if s.told == toldNothing {
		c.say("Step %d/%d : %s", c.at+1, len(c.steps), s.text)
		c.say("\n")
		s.told = toldHead
	}
	switch s.kind {
	case stepArg:
		return true
	case stepFrom:
		return c.from(s)
	case stepMeta:
		cached, sure := c.metaCached(s)
		if sure {
			c.settled(s, cached)
		}
		return sure
	}
	return c.files(s)
}

func (c *classicSteps) from(s *classicStep) bool {
	for _, v := range s.vertices {
		if v.wrong || !v.done && !c.over {
			return false
		}
	}
	id := ""
	if base := c.steps[:c.at]; s.from != "" {
		for _, other := range base { // an earlier stage
			if other.kind == stepFrom && strings.EqualFold(stageName(other.text), s.from) {
				id = c.lastID(other.stage)
			}
		}
	}
	for _, v := range s.vertices {
		if _, name, ok := strings.Cut(v.name, "FROM "); ok && c.images != nil {
			name, _, _ = strings.Cut(name, "@")
			if img, err := c.images.Inspect(name, nil); err == nil {
				id = strings.TrimPrefix(img.ID, "sha256:")
				if n := len(img.Config.OnBuild); n > 0 {
					defer c.say("# Executing %d build trigger%s\n", n, map[bool]string{true: "s"}[n > 1])
				}
			}
		}
	}
	c.flush(s)
	c.say(" ---> %s\n", short(id))
	return true
}

// stageName is what a FROM calls its stage.
func stageName(from string) string {
	words := strings.Fields(from)
	if n := len(words); n > 2 && strings.EqualFold(words[n-2], "as") {
		return words[n-1]
	}
	return ""
}

// lastID is the id that was told last of a stage.
func (c *classicSteps) lastID(stage int) string {
	for _, s := range slices.Backward(c.steps) {
		if s.stage == stage && s.kind == stepFiles && len(s.vertices) > 0 {
			return c.id(s)
		}
	}
	return ""
}

// files tells of a step that the builder works on.
func (c *classicSteps) files(s *classicStep) bool {
	if len(s.vertices) == 0 {
		c.say(" ---> Skipped: the target needs nothing of it\n")
		return true
	}
	started, done, cached := false, true, true
	for _, v := range s.vertices {
		started, done, cached = started || v.started, done && v.done, cached && v.cached
	}
	if started && !cached && s.told < toldRunning && (strings.HasPrefix(s.text, "RUN") || strings.HasPrefix(s.text, "WORKDIR")) {
		c.say(" ---> Running in %s\n", c.container(s))
		s.told = toldRunning
	}
	c.flush(s)
	if slices.ContainsFunc(s.vertices, func(v *classicVertex) bool { return v.wrong }) || !done && !c.over {
		return false
	}
	if cached {
		c.say(" ---> Using cache\n")
	} else if s.told == toldRunning {
		c.say(" ---> Removed intermediate container %s\n", c.container(s))
	}
	c.say(" ---> %s\n", c.id(s))
	return true
}

// settled tells of a step that is at its end and had no files.
func (c *classicSteps) settled(s *classicStep, cached bool) {
	if cached {
		c.say(" ---> Using cache\n")
	} else {
		c.say(" ---> Running in %s\n", c.container(s))
		c.say(" ---> Removed intermediate container %s\n", c.container(s))
	}
	c.say(" ---> %s\n", c.id(s))
}

// metaCached tells whether a step of config alone was there before: what stands on it tells, and at
// the end of the Dockerfile the image itself.
func (c *classicSteps) metaCached(s *classicStep) (cached, sure bool) {
	for _, next := range c.steps[c.at+1:] {
		if next.stage == s.stage && next.kind == stepFiles && len(next.vertices) > 0 {
			v := next.vertices[0]
			return v.cached, v.started || v.done || c.over
		}
	}
	if s.stage == c.steps[len(c.steps)-1].stage {
		return c.result != nil && c.before[c.result.ID], c.over
	}
	cached = true
	for _, before := range c.steps[:c.at] {
		if before.stage == s.stage {
			for _, v := range before.vertices {
				cached = cached && v.cached
			}
		}
	}
	return cached, true
}

// container names the place where a step ran: there is no container that stays.
func (c *classicSteps) container(s *classicStep) string {
	return short(oci.FromBytes([]byte(fmt.Sprintf("container %d %s", c.at, c.id(s)))).Hex())
}

// id names what a step made. There is an image of the last one alone.
func (c *classicSteps) id(s *classicStep) string {
	switch {
	case c.result != nil && s == c.steps[len(c.steps)-1]:
		return short(strings.TrimPrefix(c.result.ID, "sha256:"))
	case len(s.vertices) > 0:
		return short(strings.TrimPrefix(s.vertices[0].digest, "sha256:"))
	}
	return short(oci.FromBytes([]byte(fmt.Sprintf("%d %s", s.stage, s.text))).Hex())
}

func short(id string) string { return id[:min(len(id), 12)] }

func (c *classicSteps) flush(s *classicStep) {
	for _, l := range s.log {
		c.send(l)
	}
	s.log = nil
}

func (c *classicSteps) say(format string, args ...any) {
	c.send(api.Progress{Stream: fmt.Sprintf(format, args...)})
}

// send sends a message, or keeps its text where the client wants the id alone.
func (c *classicSteps) send(v any) {
	if c.quiet {
		if p, ok := v.(api.Progress); ok {
			c.held.WriteString(p.Stream)
		}
		return
	}
	_ = c.out.send(v) // a client that is gone ends ctx
}

// end tells how a build ended that succeeded.
func (c *classicSteps) end(r *api.BuildResult) error {
	c.result, c.over = r, true
	c.advance()
	c.send(struct {
		Aux any `json:"aux"`
	}{struct{ ID string }{r.ID}})
	if left := c.unusedArgs(); len(left) > 0 {
		c.say("[Warning] One or more build-args %v were not consumed\n", left)
	}
	c.say("Successfully built %s\n", short(strings.TrimPrefix(r.ID, "sha256:")))
	for _, name := range c.names {
		c.say("Successfully tagged %s\n", name)
	}
	if c.quiet {
		return c.out.send(api.Progress{Stream: r.ID + "\n"})
	}
	return nil
}

// predefined are build arguments that need no ARG.
var predefined = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH"}

// unusedArgs are the build arguments that no ARG takes.
func (c *classicSteps) unusedArgs() []string {
	var left []string
	for _, option := range slices.Sorted(maps.Keys(c.request.Options)) {
		name, ok := strings.CutPrefix(option, "build-arg:")
		if !ok || slices.Contains(predefined, strings.ToUpper(name)) || strings.HasPrefix(name, "BUILDKIT_") {
			continue
		}
		if !slices.ContainsFunc(c.steps, func(s *classicStep) bool { return s.declares(name) }) {
			left = append(left, name)
		}
	}
	return left
}

// declares tells whether the step is an ARG of that name.
func (s *classicStep) declares(name string) bool {
	rest, ok := strings.CutPrefix(s.text, "ARG ")
	return ok && slices.ContainsFunc(strings.Fields(rest), func(word string) bool {
		word, _, _ = strings.Cut(word, "=")
		return word == name
	})
}

// fail tells how a build ended that did not succeed: in band when something was told before.
func (c *classicSteps) fail(e *api.BuildError, err error) error {
	step := ""
	for n, s := range c.steps {
		if c.failed != "" && slices.ContainsFunc(s.vertices, func(v *classicVertex) bool { return v.digest == c.failed }) {
			for c.over = true; c.at < n; c.at++ {
				c.step(c.steps[c.at])
			}
			c.step(s)
			step = s.text
			break
		}
	}
	text, code := classicFailure(e, step)
	if c.quiet && c.held.Len() > 0 {
		_ = c.out.send(api.Progress{Stream: c.held.String()})
	}
	if c.out.enc == nil {
		if err == nil {
			err = errors.New(text)
		}
		return &api.Error{Kind: classicKind(text, err), Msg: text, Err: err}
	}
	_ = c.out.send(api.Progress{ErrorDetail: &api.ErrorDetail{Code: code, Message: text}, Error: text})
	return nil
}
