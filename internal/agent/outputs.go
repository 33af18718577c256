package agent

import (
	"reflect"

	"github.com/perchcam/perch/pkg/gpio"
)

// LoadOutputs reads PERCH_OUTPUTS alone: outputs are put into their safe state whatever else is wrong.
func LoadOutputs() (gpio.Outputs, error) {
	var cfg Config
	f, _ := reflect.TypeFor[Config]().FieldByName("Outputs")
	if err := load(reflect.ValueOf(&cfg).Elem().FieldByIndex(f.Index), f); err != nil {
		return nil, of(prefix+"_OUTPUTS", err)
	}
	return cfg.Outputs, nil
}
