package server

import "net/http"

// images answers for images.
type images struct {
	s *Server
}

func (i *images) list(http.ResponseWriter, *request) error    { return notBuilt("listing images") }
func (i *images) save(http.ResponseWriter, *request) error    { return notBuilt("saving images") }
func (i *images) load(http.ResponseWriter, *request) error    { return notBuilt("loading images") }
func (i *images) create(http.ResponseWriter, *request) error  { return notBuilt("importing an image") }
func (i *images) prune(http.ResponseWriter, *request) error   { return notBuilt("pruning images") }
func (i *images) history(http.ResponseWriter, *request) error { return notBuilt("an image's history") }
func (i *images) inspect(http.ResponseWriter, *request) error { return notBuilt("inspecting an image") }
func (i *images) tag(http.ResponseWriter, *request) error     { return notBuilt("tagging an image") }
func (i *images) remove(http.ResponseWriter, *request) error  { return notBuilt("removing an image") }
