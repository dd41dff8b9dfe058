package simulate

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Profiles are the names of what can be simulated.
func Profiles() []string { return []string{"home", "office", "factory"} }

// kind is a kind of device.
type kind struct {
	// name is the type of its devices.
	name string
	// share is how many of ten devices are of it; those of a profile add up to 10.
	share int
	// state is what a device says that it is. A desired state and the command set change the members that are here, to values of the
	// same type.
	state map[string]any
	// measure returns what a device reads at a time, by event.
	measure func(d *device, at time.Time) map[string]any
}

// kinds are the devices of each profile.
var kinds = map[string][]kind{
	"home": {
		{"room-sensor", 3, nil, roomSensor},
		{"lamp", 2, map[string]any{"power": false, "brightness": 70.0}, lamp},
		{"plug", 2, map[string]any{"power": true}, plug},
		{"thermostat", 1, map[string]any{"target": 21.0, "mode": "auto"}, thermostat},
		{"door", 1, nil, door},
		{"meter", 1, nil, meter(300, 1800)},
	},
	"office": {
		{"air-sensor", 4, nil, airSensor},
		{"light", 3, map[string]any{"power": false, "brightness": 80.0}, lamp},
		{"occupancy", 2, nil, occupancy},
		{"meter", 1, nil, meter(2000, 12_000)},
	},
	"factory": {
		{"machine", 5, map[string]any{"running": true, "rpm": 1450.0}, machine},
		{"pump", 3, map[string]any{"running": true, "pressure": 4.0}, pump},
		{"tank", 1, nil, tank},
		{"meter", 1, nil, meter(15_000, 90_000)},
	},
} // never written to

// kindOf returns the kind of the nth device, so that any ten in a row have every kind in its share.
func kindOf(profile string, n int) *kind {
	at := n * 3 % 10 // spreads them: 3 and 10 have no common factor
	for i := range kinds[profile] {
		k := &kinds[profile][i]
		if at < k.share {
			return k
		}
		at -= k.share
	}
	panic("simulate: the shares of a profile do not add up to 10")
}

// serial returns the serial of the nth device of a profile.
func serial(profile string, n int) string { return fmt.Sprintf("sim-%s-%04d", profile, n+1) }

// nameOf returns what a person would call the nth device, such as "Room sensor 7".
func nameOf(k *kind, n int) string {
	name := strings.ReplaceAll(k.name, "-", " ")
	return fmt.Sprintf("%s%s %d", strings.ToUpper(name[:1]), name[1:], n+1)
}

// daily is a wave of a day: 1 at the hour peak, -1 twelve hours later.
func daily(at time.Time, peak float64) float64 {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	return math.Cos(2 * math.Pi * (hour - peak) / 24)
}

// awake is how many of those who live in a home are up and in, from 0 to 1.
func awake(at time.Time) float64 {
	switch hour := at.Hour(); {
	case hour < 6:
		return 0.05
	case hour < 9:
		return 0.8
	case hour < 17:
		return 0.3
	case hour < 23:
		return 0.9
	}
	return 0.3
}

// working is how many are at work, from 0 to 1.
func working(at time.Time) float64 {
	if slices.Contains([]time.Weekday{time.Saturday, time.Sunday}, at.Weekday()) || at.Hour() < 7 || at.Hour() >= 19 {
		return 0.02
	}
	return 0.6 + 0.4*daily(at, 13)
}

// shift is whether a factory works: two shifts on weekdays.
func shift(at time.Time) bool { return at.Weekday() != time.Sunday && at.Hour() >= 6 && at.Hour() < 22 }

// rounded is a value with as many decimals as a device would send.
func rounded(value float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(value*scale) / scale
}

func roomSensor(d *device, at time.Time) map[string]any {
	temperature := 20.5 + 1.2*daily(at, 18) + d.drift("temperature", 0.1, 1)
	return map[string]any{
		"temperature": rounded(temperature, 1),
		"humidity":    rounded(48-2*(temperature-20.5)+d.drift("humidity", 0.4, 5), 0),
		"battery":     rounded(max(0, 100-d.total("battery", 0.0002, at)), 0),
	}
}

func lamp(d *device, at time.Time) map[string]any {
	watts := 0.0
	if d.is("power") {
		watts = rounded(9*d.number("brightness")/100, 1)
	}
	return map[string]any{"on": d.is("power"), "power": watts, "energy": rounded(d.total("energy", watts/3.6e6, at), 4)}
}

func plug(d *device, at time.Time) map[string]any {
	watts := 0.0
	if d.is("power") {
		watts = max(0.4, 60*awake(at)+d.drift("power", 5, 40))
	}
	return map[string]any{"power": rounded(watts, 1), "energy": rounded(d.total("energy", watts/3.6e6, at), 4)}
}

func thermostat(d *device, _ time.Time) map[string]any {
	target := d.number("target")
	if d.state["mode"] == "off" {
		target = 16
	}
	// It comes nearer to its target by a tenth of what is missing, at each reading.
	temperature := d.follow("temperature", 20, target) + d.drift("noise", 0.02, 0.2)
	return map[string]any{
		"temperature": rounded(temperature, 1), "valve": rounded(min(100, max(0, 100*(target-temperature+0.3))), 0), "heating": target > temperature,
	}
}

func door(d *device, at time.Time) map[string]any {
	return map[string]any{"open": d.chance(0.02 + 0.08*awake(at))}
}

func meter(least, most float64) func(*device, time.Time) map[string]any {
	return func(d *device, at time.Time) map[string]any {
		watts := least + (most-least)*(0.6*awake(at)+0.2*d.noise()*awake(at))
		return map[string]any{"power": rounded(watts, 0), "energy": rounded(d.total("energy", watts/3.6e6, at), 3), "voltage": rounded(231+d.drift("voltage", 0.3, 4), 1)}
	}
}

func airSensor(d *device, at time.Time) map[string]any {
	return map[string]any{
		"co2":         rounded(d.follow("co2", 420, 420+700*working(at))+d.drift("noise", 8, 60), 0),
		"temperature": rounded(21+1.5*working(at)+d.drift("temperature", 0.1, 1), 1),
		"humidity":    rounded(42+d.drift("humidity", 0.4, 6), 0),
	}
}

func occupancy(d *device, at time.Time) map[string]any {
	return map[string]any{"occupied": working(at)+d.drift("occupied", 0.05, 0.4) > 0.5}
}

func machine(d *device, at time.Time) map[string]any {
	mode := "idle"
	switch {
	case !d.is("running"):
		mode = "off"
	case d.chance(0.002):
		mode = "fault"
	case shift(at):
		mode = "running"
	}
	turning := 0.0
	if mode == "running" {
		turning = d.number("rpm")
	}
	return map[string]any{
		"mode": mode, "rpm": rounded(turning*(1+0.01*d.noise()), 0),
		"temperature": rounded(d.follow("temperature", 24, 24+turning/40)+d.drift("noise", 0.2, 2), 1),
		"pieces":      math.Floor(d.total("pieces", turning/1450/12, at)),
	}
}

func pump(d *device, at time.Time) map[string]any {
	pressure, flow := 0.0, 0.0
	if d.is("running") && shift(at) {
		pressure = d.number("pressure") + d.drift("pressure", 0.05, 0.4)
		flow = 12 * pressure
	}
	return map[string]any{"pressure": rounded(pressure, 2), "flow": rounded(flow, 1), "volume": rounded(d.total("volume", flow/3600, at), 3)}
}

// tank fills up and empties, by its drift.
func tank(d *device, _ time.Time) map[string]any {
	return map[string]any{"level": rounded(55+d.drift("level", 1.5, 40), 1)}
}
