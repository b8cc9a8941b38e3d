-- Orthanc sends every new radiograph to cxrserve, and none of what cxrserve has made of it.
-- Orthanc keeps the job and tries again while cxrserve is away (see /jobs of its REST API).

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
