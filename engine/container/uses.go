package container

// Use is what a container needs of the images.
type Use struct {
	Container string // its id
	Image     string // the id of its image; empty when there is none or it is not known
	Top       string // the chain id of the layers that it stands on, empty for none
	Running   bool
}

// Uses tells what each container needs of the images, and of those whose record cannot
// be read that they are there. It takes no verb lock.
func (cs *Containers) Uses() []Use {
	var list []Use
	for _, s := range cs.index.all() {
		list = append(list, Use{Container: s.ID, Image: s.Image, Top: s.Top, Running: s.phase.up()})
	}
	for _, id := range cs.index.unreadable() {
		list = append(list, Use{Container: id})
	}
	return list
}
