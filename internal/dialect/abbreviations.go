package dialect

// expand replaces the abbreviations of Home Assistant's discovery by their names.
func expand(members map[string]any) {
	for _, pair := range [...][2]string{
		{"stat_t", "state_topic"}, {"cmd_t", "command_topic"}, {"uniq_id", "unique_id"}, {"obj_id", "object_id"}, {"val_tpl", "value_template"},
		{"stat_val_tpl", "state_value_template"}, {"dev", "device"}, {"o", "origin"}, {"cmps", "components"}, {"p", "platform"},
		{"avty", "availability"}, {"avty_t", "availability_topic"}, {"avty_tpl", "availability_template"}, {"pl_avail", "payload_available"},
		{"pl_not_avail", "payload_not_available"}, {"pl_on", "payload_on"}, {"pl_off", "payload_off"}, {"pl_prs", "payload_press"},
		{"pl_lock", "payload_lock"}, {"pl_unlk", "payload_unlock"}, {"stat_on", "state_on"}, {"stat_off", "state_off"},
		{"stat_locked", "state_locked"}, {"stat_unlocked", "state_unlocked"}, {"t", "topic"},
	} {
		rename(members, pair[0], pair[1])
	}
}

// expandDevice does so for what is said of a device.
func expandDevice(members map[string]any) {
	for _, pair := range [...][2]string{
		{"ids", "identifiers"}, {"cns", "connections"}, {"mf", "manufacturer"}, {"mdl", "model"}, {"sw", "sw_version"}, {"sa", "suggested_area"},
	} {
		rename(members, pair[0], pair[1])
	}
}

func rename(members map[string]any, short, long string) {
	if value, ok := members[short]; ok {
		if _, has := members[long]; !has {
			members[long] = value
		}
		delete(members, short)
	}
}
