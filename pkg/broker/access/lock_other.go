//go:build !unix

package access

// lock does nothing where there is no flock: a broker is run on Unix, and elsewhere only inside the CLI, without credentials.
func lock(string) (unlock func(), err error) { return func() {}, nil }
