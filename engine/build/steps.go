package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
	"lighter/store"
)

// stepRecord is one step of an image's build, as it is found again: build/steps/<hex of the image's id>.json holds
// a list of them. It holds no layers: the cache does.
type stepRecord struct {
	Stage string   `json:"stage,omitempty"`
	N     int      `json:"n"`
	Says  string   `json:"says"`
	Top   string   `json:"top"`
	Env   []string `json:"env,omitempty"` // of a RUN, as all below
	Dir   string   `json:"dir,omitempty"`
	User  string   `json:"user,omitempty"`
}

func (b *Builder) stepsPath(id oci.Digest) string {
	return b.Root.Path("build", "steps", id.Hex()+".json")
}

// noteSteps remembers the steps that an image was made by.
func (j *job) noteSteps(id oci.Digest) error {
	path := j.b.stepsPath(id)
	if !j.fresh {
		if _, err := os.Stat(path); err == nil {
			return nil // all was cached, and is known
		}
	}
	var list []stepRecord
	j.mu.Lock()
	for v, s := range j.visits {
		stage, n, _, ok := v.stage()
		select {
		case <-s.done:
		default:
			continue
		}
		if !ok || len(s.out) == 0 || s.out[0].top == "" {
			continue
		}
		r := stepRecord{Stage: stage, N: n, Says: v.name, Top: s.out[0].top}
		if m := v.op.GetExec().GetMeta(); m != nil {
			r.Env, r.Dir, r.User = m.Env, m.Cwd, m.User
		}
		list = append(list, r)
	}
	j.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b stepRecord) int { return cmp.Or(strings.Compare(a.Stage, b.Stage), cmp.Compare(a.N, b.N)) })
	if err := os.MkdirAll(j.b.Root.Path("build", "steps"), 0o700); err != nil {
		return err
	}
	return store.WriteRecord(path, list, false)
}

// sweepSteps forgets the steps of images that are gone.
func (b *Builder) sweepSteps() error {
	entries, err := os.ReadDir(b.Root.Path("build", "steps"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		hex, ok := strings.CutSuffix(e.Name(), ".json")
		if _, gone := b.Images.Resolve("sha256:" + hex); !ok || api.Is(gone, api.NotFound) {
			err = errors.Join(err, os.Remove(b.Root.Path("build", "steps", e.Name())))
		}
	}
	return err
}

// Step gives an image of what an image was after a step of its build, STAGE:N as progress numbers them
// (N alone where there is one stage), with the environment that a RUN there would have.
func (b *Builder) Step(ctx context.Context, name, step string) (string, error) {
	img, err := b.Images.Resolve(name)
	if err != nil {
		return "", err
	}
	var list []stepRecord
	err = store.ReadRecord(b.stepsPath(img.ID), &list)
	if errors.Is(err, os.ErrNotExist) {
		return "", api.Errorf(api.NotFound, "the steps of %s are not known: it was not built here", name)
	}
	if err != nil {
		return "", err
	}
	stage, number := "", step
	if cut := strings.LastIndexByte(step, ':'); cut >= 0 {
		stage, number = step[:cut], step[cut+1:]
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return "", api.Errorf(api.Invalid, "a step is named STAGE:N, as in build:2: %q", step)
	}
	for _, r := range list {
		if r.N == n && (strings.EqualFold(r.Stage, stage) || r.Stage == "" && stage == "stage-0") {
			defer b.hold(r.Top)()
			if _, err := b.Layers.Get(r.Top); err != nil {
				return "", api.Errorf(api.NotFound, "what %q left is no more in the cache: build %s again", r.Says, name)
			}
			return b.stateImage(r.Top, img.Doc.Platform(), r, img.Doc.Config)
		}
	}
	return "", api.Errorf(api.NotFound, "%s has no step %q: it has %s", name, step, stepNames(list))
}

func stepNames(list []stepRecord) string {
	names := make([]string, 0, len(list))
	for _, r := range list {
		if r.Stage == "" {
			names = append(names, strconv.Itoa(r.N))
		} else {
			names = append(names, r.Stage+":"+strconv.Itoa(r.N))
		}
	}
	return strings.Join(names, ", ")
}

// stateImage keeps an image of a step's files, without a name. Where the step is no RUN, the rest is
// as config, that of an image, says.
func (b *Builder) stateImage(top string, p oci.Platform, r stepRecord, config json.RawMessage) (string, error) {
	run := map[string]any{}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &run); err != nil {
			return "", err
		}
	}
	if r.Env != nil || r.Dir != "" {
		run["Env"], run["WorkingDir"], run["User"] = r.Env, r.Dir, r.User
	}
	delete(run, "Entrypoint")
	run["Cmd"] = []string{"/bin/sh"}
	text, err := json.Marshal(map[string]any{
		"architecture": p.Architecture, "os": p.OS, "variant": p.Variant, "config": run,
		"history": []history{{CreatedBy: r.Says, Comment: "lighter: the state of a step"}},
	})
	if err != nil {
		return "", err
	}
	diffs, err := b.diffs(top)
	if err != nil {
		return "", err
	}
	raw, err := document(text, nil, diffs, time.Unix(0, 0).UTC(), false)
	if err != nil {
		return "", err
	}
	img, err := image.Builds{Images: b.Images}.Built(raw, nil)
	if err != nil {
		return "", err
	}
	return string(img.ID), nil
}

// failedState gives an image of what a RUN left that failed.
func (j *job) failedState(v *vertex, top string) (string, error) {
	m := v.op.GetExec().GetMeta()
	if m == nil {
		return "", nil
	}
	if err := j.b.Layers.Settle(context.WithoutCancel(j.ctx), top); err != nil {
		return "", err
	}
	p := v.op.Platform
	if p == nil {
		p = &pb.Platform{OS: j.platforms[0].OS, Architecture: j.platforms[0].Architecture, Variant: j.platforms[0].Variant}
	}
	return j.b.stateImage(top, oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant},
		stepRecord{Says: v.name, Env: m.Env, Dir: m.Cwd, User: m.User}, nil)
}
