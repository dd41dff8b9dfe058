import{K as e,N as t,Q as n,S as r,_ as i,bt as a,gt as o,h as s,j as c,l,m as u,nt as d,o as f,s as p,u as m,vt as h}from"./kit-dXEoczVs.js";import{i as g}from"./fleet-DOk3OST9.js";import{a as _}from"./index-BLriATqU.js";function v({close:e,orgs:i}){let[o]=h(d),[c,l]=h(``),[f,p]=h(null);if(f)return t(m,{title:`Connect ${f.device.name}`,close:e,wide:!0,children:t(b,{...f})});let _=i.filter(e=>e.role!==`viewer`);return t(m,{title:`Add a device`,close:e,children:t(s,{submit:`Add and get its token`,send:async({name:e=``,type:t,tags:r=``})=>{let i=await n.createDevice({name:e,type:t?.trim()||`sensor`,tags:g(r),...c&&{organization_id:c}},{idempotencyKey:o}),{token:a}=await n.createDeviceToken(i.id,{});p({device:i,token:a})},children:e=>t(a,{children:[t(u,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:100,placeholder:`Kitchen sensor`,autocomplete:`off`,error:e?.fields.name}),t(u,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:e?.fields.type}),t(u,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:e?.fields.tags}),_.length>0&&t(r,{label:`Belongs to`,value:c,onPick:l,options:[[``,`You`],..._.map(e=>[e.id,e.name])]})]})})})}var y=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function b({device:n,token:r}){let[o,s]=h(`curl`),u=x(n.id);return t(a,{children:[t(`div`,{class:`token`,children:[t(`div`,{children:[t(`b`,{children:`Token of the device`}),t(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),t(`code`,{children:r})]}),t(l,{text:r,label:`Copy token`})]}),t(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),t(f,{label:`Language`,options:y,value:o,onPick:s}),t(p,{text:S(o,n.id,r),label:`Lines for ${o}`}),o===`mqtt`&&t(`p`,{class:`soft small`,children:[`MQTT must be on: set `,t(`code`,{children:`HEARTH_MQTT_ADDR`}),` on the server.`]}),t(`div`,{class:u?`first good`:`first`,role:`status`,children:u?t(a,{children:[t(c,{name:`check`}),t(`span`,{children:[t(`b`,{children:`It works.`}),` The first reading: `,u.event,` = `,e(u.value)]})]}):t(a,{children:[t(`span`,{class:`pulse`}),t(`span`,{children:`Waiting for the first reading …`})]})}),t(`div`,{class:`form-foot`,children:t(i,{look:u?`main`:`quiet`,href:`/devices/${n.id}`,children:`Open the device`})})]})}function x(e){let[t,r]=h(null);return o(()=>{let t=async()=>{let t=await n.latestLogs(e).catch(()=>null);t?.items[0]&&r(t.items[0])},i=setInterval(()=>void t(),5e3),a=_(`device-log`,t=>{if(t.device_id!==e)return;if(!(`latest`in t))return r(t);let[n]=Object.entries(t.latest);n&&r({event:n[0],value:n[1].value})});return()=>{clearInterval(i),a()}},[e]),t}function S(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
  -u device -P '${n}' \\
  -t t -m '{"temperature": 21.5}'`;case`arduino`:return`#include <WiFi.h>
#include <HTTPClient.h>

void setup() {
  WiFi.begin("YOUR-WIFI", "PASSWORD");
  while (WiFi.status() != WL_CONNECTED) delay(100);
}

void loop() {
  HTTPClient http;
  http.begin("${r}");
  http.addHeader("Authorization", "Bearer ${n}");
  http.addHeader("Content-Type", "application/json");
  http.POST("{\\"event\\":\\"temperature\\",\\"value\\":21.5}");
  http.end();
  delay(60000);
}`;case`go`:return`package main

import (
	"log"
	"net/http"
	"strings"
)

func main() {
	body := strings.NewReader(\`{"event":"temperature","value":21.5}\`)
	req, err := http.NewRequest("POST", "${r}", body)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ${n}")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	log.Println(resp.Status)
}`;case`python`:return`import json, urllib.request

request = urllib.request.Request(
    "${r}",
    data=json.dumps({"event": "temperature", "value": 21.5}).encode(),
    headers={
        "Authorization": "Bearer ${n}",
        "Content-Type": "application/json",
    },
)
print(urllib.request.urlopen(request).read().decode())`;default:return`curl -X POST ${r} \\
  -H 'Authorization: Bearer ${n}' \\
  -H 'Content-Type: application/json' \\
  -d '{"event": "temperature", "value": 21.5}'`}}export{b as n,v as t};