package image

import (
	"errors"
	"slices"

	"lighter/api"
	"lighter/oci"
)

// History tells the steps that made an image, the last one first. Steps whose image is
// here carry its id and names, those that made a layer its number.
func (i *Images) History(name string, p *oci.Platform) ([]api.ImageHistory, error) {
	img, err := i.ResolveFor(name, p)
	if err != nil {
		return nil, err
	}
	steps := make([]api.ImageHistory, 0, len(img.Doc.History))
	n := 0
	for _, h := range img.Doc.History {
		step := api.ImageHistory{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			step.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if n >= len(img.Chains) {
				return nil, errors.New("too many non-empty layers in History section")
			}
			l, err := i.Layers.Get(string(img.Chains[n]))
			if err != nil {
				return nil, err
			}
			n++
			step.Size, step.Layer = l.Size, n
		}
		steps = append(steps, step)
	}
	slices.Reverse(steps)
	for k := range steps {
		steps[k].ID = string(img.ID)
		steps[k].Tags, _ = i.Names(img.ID)
		if img = i.byID(img.Parent); img == nil {
			break
		}
	}
	return steps, nil
}
