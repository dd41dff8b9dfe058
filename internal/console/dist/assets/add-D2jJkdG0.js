import{A as e,Ct as t,Dt as n,G as r,M as i,Tt as a,_ as o,at as s,h as c,it as l,l as u,lt as d,m as f,o as p,s as m,tt as h,u as g,x as _}from"./kit-C36GDVo0.js";import{i as v}from"./fleet--IkLIPFm.js";import{a as y}from"./index-B5EjVSvX.js";function b({close:e,orgs:t}){let[r]=a(s),[o,l]=a(``),[u,p]=a(null);if(u)return i(g,{title:`Connect ${u.device.name}`,close:e,wide:!0,children:i(S,{...u})});let m=t.filter(e=>e.role!==`viewer`);return i(g,{title:`Add a device`,close:e,children:i(c,{submit:`Add and get its token`,send:async({name:e,type:t,tags:n=``})=>{let i=await h(`/devices`,{name:e,type:t?.trim()||`sensor`,tags:v(n),...o&&{organization_id:o}},r),{token:a}=await d(`/devices/${i.id}/tokens`);p({device:i,token:a})},children:e=>i(n,{children:[i(f,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:100,placeholder:`Kitchen sensor`,autocomplete:`off`,error:e?.fields.name}),i(f,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:e?.fields.type}),i(f,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:e?.fields.tags}),m.length>0&&i(_,{label:`Belongs to`,value:o,onPick:l,options:[[``,`You`],...m.map(e=>[e.id,e.name])]})]})})})}var x=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function S({device:t,token:s}){let[c,l]=a(`curl`),d=C(t.id);return i(n,{children:[i(`div`,{class:`token`,children:[i(`div`,{children:[i(`b`,{children:`Token of the device`}),i(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),i(`code`,{children:s})]}),i(u,{text:s,label:`Copy token`})]}),i(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),i(p,{label:`Language`,options:x,value:c,onPick:l}),i(m,{text:w(c,t.id,s),label:`Lines for ${c}`}),c===`mqtt`&&i(`p`,{class:`soft small`,children:[`MQTT must be on: set `,i(`code`,{children:`HEARTH_MQTT_ADDR`}),` on the server.`]}),i(`div`,{class:d?`first good`:`first`,role:`status`,children:d?i(n,{children:[i(e,{name:`check`}),i(`span`,{children:[i(`b`,{children:`It works.`}),` The first reading: `,d.event,` = `,r(d.value)]})]}):i(n,{children:[i(`span`,{class:`pulse`}),i(`span`,{children:`Waiting for the first reading …`})]})}),i(`div`,{class:`form-foot`,children:i(o,{look:d?`main`:`quiet`,href:`/devices/${t.id}`,children:`Open the device`})})]})}function C(e){let[n,r]=a(null);return t(()=>{let t=async()=>{let t=await l(`/devices/${e}/latest`).catch(()=>null);t?.items[0]&&r(t.items[0])},n=setInterval(()=>void t(),5e3),i=y(`device-log`,t=>{if(t.device_id!==e)return;if(!(`latest`in t))return r(t);let[n]=Object.entries(t.latest);n&&r({event:n[0],value:n[1].value})});return()=>{clearInterval(n),i()}},[e]),n}function w(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
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
  -d '{"event": "temperature", "value": 21.5}'`}}export{S as n,b as t};