package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// series files the pictures of one stream in a folder that may hold others of the device. Unless the folder's force is set no
// file there is overwritten: what a later run of the device took gets other names.
type series struct {
	a      *app
	device string
	folder *folder

	begun    bool
	run      int // of the device, as names tell it
	restarts int // that run is for
}

// put files a picture; restarts is how often the device has started anew since the first.
func (s *series) put(p client.Picture, restarts int) error {
	if err := s.choose(p, restarts); err != nil {
		return err
	}
	name := fileName(s.device, p, s.run)
	if !s.folder.force && s.folder.has(name, p.Data) {
		s.a.say("%s was there already", filepath.Join(s.folder.path, name))
		return nil
	}
	return s.folder.write(name, p.Data)
}

// choose finds the run for the first picture, and for the first after a restart.
func (s *series) choose(p client.Picture, restarts int) (err error) {
	switch {
	case s.folder.force:
		s.run = restarts
		return nil
	case s.begun && restarts == s.restarts:
		return nil
	}
	least := 0
	if s.begun {
		least = s.run + 1
	}
	if s.run, err = s.folder.run(s.device, p, least); err != nil {
		return err
	}
	if !s.begun && s.run > 0 {
		s.a.say("%s has pictures of an earlier run of the device: names go on as %s", s.folder.path, fileName(s.device, p, s.run))
	}
	s.begun, s.restarts = true, restarts
	return nil
}

// run returns the run under which a picture and those behind it are filed, so that none has the name of one that is there: at
// least least, the newest that the folder has, or one more where that has higher numbers. Then the device has started anew.
func (f *folder) run(device string, p client.Picture, least int) (int, error) {
	list, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return 0, fmt.Errorf("cannot read the folder %s: %w", f.path, cause(err))
	}
	name := regexp.MustCompile("^" + regexp.QuoteMeta(api.FileName(device+"-"+p.Camera)) + `-(?:r(\d{1,6})-)?(\d{8,19})\.[a-z0-9]+$`)
	run, highest, some := least, uint64(0), false
	for _, e := range list {
		m := name.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		of, _ := strconv.Atoi(m[1]) // none is 0
		seq, _ := strconv.ParseUint(m[2], 10, 64)
		switch {
		case of > run:
			run, highest, some = of, seq, true
		case of == run:
			highest, some = max(highest, seq), true
		}
	}
	if some && highest >= p.Seq && (highest > p.Seq || !f.has(fileName(device, p, run), p.Data)) {
		run++
	}
	return run, nil
}
