-- Orthanc sends every new radiograph to cxrserve, and none of what cxrserve has made of it.
-- Orthanc sends once: what it cannot send while cxrserve is away it forgets, and calls the job a success.
-- cxrserve fetches such radiographs itself (`servers` in rules.compose.yaml), if their study is of late.

local RADIOGRAPHS = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,   -- Computed Radiography
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true, -- Digital X-Ray, for presentation
}

function OnStoredInstance(instanceId, tags, metadata, origin)
  local fromCxrserve = origin['RemoteAet'] == 'CXRSERVE'
  if RADIOGRAPHS[tags['SOPClassUID']] and not fromCxrserve then
    SendToModality(instanceId, 'cxrserve')
  end
end
