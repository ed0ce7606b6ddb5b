package container

// Use is what a container needs of the images.
type Use struct {
	Container string // its id
	Image     string // the id of its image; empty when there is none or it is not known
	Top       string // the chain id of the layers that it stands on, empty for none
	Running   bool
	Mounts    []string // the ids of the images that it mounts
	Tops      []string // the chain ids of their layers
}

// Uses tells what each container needs of the images, and of those whose record cannot
// be read that they are there. It takes no verb lock.
func (cs *Containers) Uses() []Use {
	var list []Use
	for _, s := range cs.index.all() {
		u := Use{Container: s.ID, Image: s.Image, Top: s.Top, Running: s.phase.up()}
		for _, m := range s.Mounts {
			if m.Type == imageMount {
				u.Mounts, u.Tops = append(u.Mounts, m.Image), append(u.Tops, m.Top)
			}
		}
		list = append(list, u)
	}
	for _, id := range cs.index.unreadable() {
		list = append(list, Use{Container: id})
	}
	return list
}
