package build

import (
	"context"
	"slices"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
)

// mergeOp lays outcomes on each other: of the first its layers, and the layers of the others on top. So COPY --link makes a
// layer that stands on nothing, and is laid on whatever base there is.
type mergeOp struct{ inputs []int }

// maxStack is how many layers may lie on each other: what overlayfs takes.
const maxStack = 500

func newMergeOp(o *pb.Op, merge *pb.MergeOp) (op, error) {
	if merge == nil || len(merge.Inputs) != len(o.Inputs) {
		return nil, api.Errorf(api.Invalid, "invalid merge op with %d inner inputs and %d outer inputs", len(merge.GetInputs()), len(o.Inputs))
	}
	m := &mergeOp{}
	for _, in := range merge.Inputs {
		if in == nil || in.Input < 0 || in.Input >= int64(len(o.Inputs)) {
			return nil, api.Errorf(api.Invalid, "invalid merge op: an input that is none")
		}
		m.inputs = append(m.inputs, int(in.Input))
	}
	return m, nil
}

func (m *mergeOp) key(ctx context.Context, _ *job, in []outcome) (*key, error) {
	k := &key{}
	k.add("instruction", "merge")
	for _, n := range m.inputs {
		digest, err := outcomeDigest(ctx, in[n])
		if err != nil {
			return nil, err
		}
		k.add("files", digest)
	}
	return k, nil
}

// outcomeDigest is what all of an outcome is in keys.
func outcomeDigest(ctx context.Context, o outcome) (string, error) {
	if o.tree != nil {
		return treeDigest(ctx, o.tree, "/")
	}
	return o.top, nil
}

func (m *mergeOp) run(ctx context.Context, j *job, _ *vertex, in []outcome) ([]outcome, error) {
	top := ""
	for _, n := range m.inputs {
		next, err := layersOf(ctx, j, in[n])
		if err != nil {
			return nil, err
		}
		if top == "" {
			top = next
			continue
		}
		stack, err := j.b.stack(next, "")
		if err != nil {
			return nil, err
		}
		if top, err = j.b.rebase(ctx, stack, top); err != nil {
			return nil, err
		}
	}
	return []outcome{{top: top}}, nil
}

// stack gives the layers of top that lie above another layer ("" for all), the lowest first. What does
// not lie on that gives all of them.
func (b *Builder) stack(top, above string) ([]string, error) {
	var list []string
	for at := top; at != "" && at != above; {
		l, err := b.Layers.Get(at)
		if err != nil {
			return nil, err
		}
		if list = append(list, at); len(list) > maxStack {
			return nil, api.Errorf(api.Invalid, "more than %d layers lie on each other", maxStack)
		}
		at = l.Parent
	}
	slices.Reverse(list)
	return list, nil
}

// rebase lays layers on others.
func (b *Builder) rebase(ctx context.Context, stack []string, top string) (string, error) {
	for _, at := range stack {
		l, err := b.Layers.Rebase(ctx, at, top)
		if err != nil {
			return "", err
		}
		top = l.ChainID
	}
	return top, nil
}

// diffOp gives what one outcome has above another that it stands on.
type diffOp struct{ lower, upper int } // -1 for no file at all

func newDiffOp(o *pb.Op, diff *pb.DiffOp) (op, error) {
	if diff.GetLower() == nil || diff.GetUpper() == nil {
		return nil, api.Errorf(api.Invalid, "invalid diff op with nil lower or upper input")
	}
	d := &diffOp{lower: int(diff.Lower.Input), upper: int(diff.Upper.Input)}
	for _, n := range []int{d.lower, d.upper} {
		if n < -1 || n >= len(o.Inputs) {
			return nil, api.Errorf(api.Invalid, "invalid diff op: input %d of %d", n, len(o.Inputs))
		}
	}
	return d, nil
}

// ends gives the two outcomes.
func (d *diffOp) ends(in []outcome) (lower, upper outcome) {
	if d.lower >= 0 {
		lower = in[d.lower]
	}
	if d.upper >= 0 {
		upper = in[d.upper]
	}
	return lower, upper
}

func (d *diffOp) key(ctx context.Context, _ *job, in []outcome) (*key, error) {
	lower, upper := d.ends(in)
	below, err := outcomeDigest(ctx, lower)
	if err != nil {
		return nil, err
	}
	above, err := outcomeDigest(ctx, upper)
	if err != nil {
		return nil, err
	}
	k := &key{}
	k.add("instruction", "diff")
	k.add("lower files", below)
	k.add("upper files", above)
	return k, nil
}

func (d *diffOp) run(ctx context.Context, j *job, _ *vertex, in []outcome) ([]outcome, error) {
	lower, upper := d.ends(in)
	below, err := layersOf(ctx, j, lower)
	if err != nil {
		return nil, err
	}
	top, err := layersOf(ctx, j, upper)
	if err != nil {
		return nil, err
	}
	stack, err := j.b.stack(top, below)
	if err != nil {
		return nil, err
	}
	if below != "" && len(stack) > 0 {
		first, err := j.b.Layers.Get(stack[0])
		if err != nil {
			return nil, err
		}
		if first.Parent != below {
			return nil, api.Errorf(api.NotImplemented, "a difference of files is only made of what stands on each other")
		}
	}
	out, err := j.b.rebase(ctx, stack, "")
	return []outcome{{top: out}}, err
}
