package server

// containers answers for containers.
type containers struct {
	s *Server
}
