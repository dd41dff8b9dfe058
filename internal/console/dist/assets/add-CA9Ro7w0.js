import{E as e,Et as t,F as n,J as r,P as i,S as a,St as o,b as s,ct as c,d as l,dt as u,f as d,h as f,i as p,m,mt as h,ut as g,wt as _,y as v}from"./index-CkuvAvL8.js";import{i as y}from"./fleet-jwLcN01b.js";function b({close:r,orgs:i}){let[a]=_(u),[o,l]=_(``),[d,p]=_(null);if(d)return n(f,{title:`Connect ${d.device.name}`,close:r,wide:!0,children:n(S,{...d})});let m=i.filter(e=>e.role!==`viewer`);return n(f,{title:`Add a device`,close:r,children:n(s,{submit:`Add and get its token`,send:async({name:e,type:t,tags:n=``})=>{let r=await c(`/devices`,{name:e,type:t?.trim()||`sensor`,tags:y(n),...o&&{organization_id:o}},a),{token:i}=await h(`/devices/${r.id}/tokens`);p({device:r,token:i})},children:r=>n(t,{children:[n(v,{label:`Name`,name:`name`,required:!0,autofocus:!0,maxLength:100,placeholder:`Kitchen sensor`,autocomplete:`off`,error:r?.fields.name}),n(v,{label:`Type`,name:`type`,placeholder:`sensor`,maxLength:64,autocomplete:`off`,hint:`What kind of device it is, such as sensor, plug or thermostat`,error:r?.fields.type}),n(v,{label:`Tags (optional)`,name:`tags`,placeholder:`kitchen, ground floor`,autocomplete:`off`,error:r?.fields.tags}),m.length>0&&n(e,{label:`Belongs to`,value:o,onPick:l,options:[[``,`You`],...m.map(e=>[e.id,e.name])]})]})})})}var x=[[`curl`,`curl`],[`mqtt`,`MQTT`],[`arduino`,`Arduino`],[`go`,`Go`],[`python`,`Python`]];function S({device:e,token:o}){let[s,c]=_(`curl`),u=C(e.id);return n(t,{children:[n(`div`,{class:`token`,children:[n(`div`,{children:[n(`b`,{children:`Token of the device`}),n(`small`,{class:`soft`,children:`It is shown only now: copy it, or make another one later.`}),n(`code`,{children:o})]}),n(m,{text:o,label:`Copy token`})]}),n(`p`,{children:`Send a reading from the device, or from this computer to try it:`}),n(l,{label:`Language`,options:x,value:s,onPick:c}),n(d,{text:w(s,e.id,o),label:`Lines for ${s}`}),s===`mqtt`&&n(`p`,{class:`soft small`,children:[`MQTT must be on: set `,n(`code`,{children:`HEARTH_MQTT_ADDR`}),` on the server.`]}),n(`div`,{class:u?`first good`:`first`,role:`status`,children:u?n(t,{children:[n(i,{name:`check`}),n(`span`,{children:[n(`b`,{children:`It works.`}),` The first reading: `,u.event,` = `,r(u.value)]})]}):n(t,{children:[n(`span`,{class:`pulse`}),n(`span`,{children:`Waiting for the first reading …`})]})}),n(`div`,{class:`form-foot`,children:n(a,{look:u?`main`:`quiet`,href:`/devices/${e.id}`,children:`Open the device`})})]})}function C(e){let[t,n]=_(null);return o(()=>{let t=async()=>{let t=await g(`/devices/${e}/latest`).catch(()=>null);t?.items[0]&&n(t.items[0])},r=setInterval(()=>void t(),5e3),i=p(`device-log`,t=>{if(t.device_id!==e)return;if(!(`latest`in t))return n(t);let[r]=Object.entries(t.latest);r&&n({event:r[0],value:r[1].value})});return()=>{clearInterval(r),i()}},[e]),t}function w(e,t,n){let r=`${location.origin}/api/v1/devices/${t}/logs`;switch(e){case`mqtt`:return`mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
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