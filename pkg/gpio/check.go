package gpio

import (
	"cmp"
	"context"
	"fmt"
)

// Finding is what Check found of one sensor or output.
type Finding struct {
	What  string // "sensor" or "output"
	Name  string
	Place *Place  // of a line that was found
	Level *bool   // of an input that could be read
	Value []Value // of a sensor that could be measured
	Error *Fault  // why it cannot be used; its Hint says what to do, such as the line that config.txt needs
}

// Check looks for everything that is configured, reads each sensor once, and lets go again: a dry run for whoever sets a Pi up. Outputs
// are looked for and not touched. Lines that the running agent holds are in use by it, and said so.
func Check(ctx context.Context, c Config) []Finding {
	var list []Finding
	for _, spec := range c.Sensors {
		f := Finding{What: "sensor", Name: spec.Name}
		var err error
		if spec.IsInput() {
			err = f.input(c.Lines, spec)
		} else {
			err = f.measure(ctx, c.Devices, spec)
		}
		list = append(list, f.with(err))
	}
	for _, spec := range c.Outputs {
		f := Finding{What: "output", Name: spec.Name}
		err := f.find(c.Lines, spec.Line, spec.Chip)
		if err == nil && f.Place.Consumer != "" {
			err = &BusyError{Line: spec.Line, Consumer: f.Place.Consumer}
		}
		list = append(list, f.with(err))
	}
	return list
}

func (f Finding) with(err error) Finding {
	if err != nil {
		f.Error = fault(err)
	}
	return f
}

func (f *Finding) find(lines Opener, line, chip string) error {
	p, err := lines.Find(line, chip)
	if err == nil {
		f.Place = &p
	}
	return err
}

func (f *Finding) input(lines Opener, spec SensorSpec) error {
	if err := f.find(lines, spec.Address, spec.Chip); err != nil {
		return err
	}
	in, err := lines.OpenInput(spec.config())
	if err != nil {
		return err
	}
	defer in.Close()
	on, err := in.Value()
	if err == nil {
		f.Level = &on
	}
	return err
}

func (f *Finding) measure(ctx context.Context, devices Devices, spec SensorSpec) error {
	s, err := devices.OpenSensor(spec)
	if err != nil {
		return err
	}
	defer s.Close()
	values, err := s.Read(ctx)
	if err == nil {
		f.Value, err = spec.finish(values)
	}
	return err
}

// String is the finding in one line.
func (f Finding) String() string {
	s := f.What + " " + f.Name + ": "
	if f.Place != nil {
		s += fmt.Sprintf("%s offset %d (%s)", f.Place.Label, f.Place.Offset, cmp.Or(f.Place.Name, "no name"))
	}
	if f.Level != nil {
		s += map[bool]string{true: ", on", false: ", off"}[*f.Level]
	}
	for i, v := range f.Value {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s %v %s", v.Quantity, v.Value, v.Unit)
	}
	if f.Error == nil {
		return s
	}
	if f.Place != nil {
		s += ": "
	}
	s += f.Error.Text
	if f.Error.Hint != "" {
		s += "; " + f.Error.Hint
	}
	return s
}
